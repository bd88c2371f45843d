package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weirhq/weir/bench/load"
)

// distinct is how many different checks are sent round and round.
const distinct = 1000

// grpcPrefix is the length of what stands before a message of gRPC: a flag and the message's length.
const grpcPrefix = 5

// firstID is the least id that Envoy's stream ids are counted from here: all have 19 digits.
const firstID = uint64(1_000_000_000_000_000_000)

// checks are the requests of Envoy's about a GET of the path by one tenant after the other.
func checks(tenant func(i int) string, path func(i int) string) ([]load.Request, error) {
	all := make([]load.Request, distinct)
	for i := range all {
		msg, err := proto.Marshal(checkOf(tenant(i), path(i), i))
		if err != nil {
			return nil, fmt.Errorf("make check: %w", err)
		}
		body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg)))
		all[i] = load.Request{Header: grpcHeader(), Body: append(body, msg...)}
	}
	return all, nil
}

// grpcHeader is what Envoy sends before each check.
func grpcHeader() []hpack.HeaderField {
	return []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: authv3.Authorization_Check_FullMethodName},
		{Name: ":authority", Value: "weir"},
		{Name: "te", Value: "trailers"},
		{Name: "grpc-timeout", Value: "5S"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "x-envoy-internal", Value: "true"},
	}
}

// checkOf is a check of about 1.6 KB, as Envoy makes it of a request with a JWT.
func checkOf(tenant, path string, i int) *authv3.CheckRequest {
	peer := func(address string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}}
	}
	headers := map[string]string{
		":method": "GET", ":path": path, ":authority": "api.acme.example", ":scheme": "https",
		"x-tenant-id": tenant, "authorization": "Bearer " + strings.Repeat("eyJhbGciOiJSUzI1NiJ9", 30),
		"user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "accept": "application/json, text/plain, */*",
		"accept-encoding": "gzip, deflate, br", "accept-language": "en-US,en;q=0.9", "content-type": "application/json",
		"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https", "x-request-id": fmt.Sprintf("6f1ed002-ab5f-4d2a-9c3d-%012d", i),
		"x-envoy-external-address": "203.0.113.7", "origin": "https://app.acme.example", "referer": "https://app.acme.example/reports",
		"cache-control": "no-cache", "cookie": "session=" + strings.Repeat("0123456789abcdef", 4),
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer("203.0.113.7", 40_000+uint32(i)), Destination: peer("10.0.0.7", 8443),
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1_790_000_000 + int64(i), Nanos: 123_456_000},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: strconv.FormatUint(firstID, 10), Method: "GET", Headers: headers, Path: path, Host: "api.acme.example",
				Scheme: "https", Protocol: "HTTP/1.1",
			},
		},
		ContextExtensions: map[string]string{"weir.route_group": "api"},
	}}
}

// numbering gives each request an id of its own, as Envoy does: the same again would be
// the same request, which counts once.
func numbering(connection uint64) func(n uint64, r *load.Request) {
	const connections, perConnection = 1_000_000, 1_000_000_000
	mark := []byte(strconv.FormatUint(firstID, 10)[:3]) // the digits that no count reaches
	connection %= connections
	return func(n uint64, r *load.Request) {
		at := idOf(r.Body, mark)
		strconv.AppendUint(r.Body[at:at], firstID+connection*perConnection+n, 10)
	}
}

// idOf is where the id of a check's HTTP request stands: its field begins with number, length
// 19, and the digits that all ids here have.
func idOf(body, mark []byte) int {
	field := append([]byte{0x0a, 19}, mark...)
	return bytes.Index(body, field) + 2
}

// answered makes the check of answers: grpc went well, and the CheckResponse permits, or does not.
func answered(permits bool) func(*load.Answer) error {
	return func(a *load.Answer) error {
		if err := grpcOK(a.Header); err != nil {
			return err
		}
		if len(a.Body) < grpcPrefix {
			return errors.New("an answer without a message")
		}
		code, err := statusCode(a.Body[grpcPrefix:])
		if err != nil {
			return err
		}
		if (code == 0) != permits {
			return fmt.Errorf("answered with code %d", code)
		}
		return nil
	}
}

func grpcOK(header []hpack.HeaderField) error {
	for _, f := range header {
		if f.Name == "grpc-status" {
			if f.Value != "0" {
				return fmt.Errorf("grpc-status %s: %v", f.Value, header)
			}
			return nil
		}
	}
	return fmt.Errorf("an answer without grpc-status: %v", header)
}

// statusCode is the code of a CheckResponse's status, its first field: read by hand, because
// the load must cost less than the servers.
func statusCode(msg []byte) (uint64, error) {
	number, kind, n := protowire.ConsumeTag(msg)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return 0, errors.New("an answer without a status")
	}
	status, n := protowire.ConsumeBytes(msg[n:])
	if n < 0 {
		return 0, errors.New("an answer that is cut off")
	}
	if len(status) == 0 {
		return 0, nil
	}
	_, _, n = protowire.ConsumeTag(status)
	code, m := protowire.ConsumeVarint(status[max(n, 0):])
	if n < 0 || m < 0 {
		return 0, errors.New("a status that can't be read")
	}
	return code, nil
}
