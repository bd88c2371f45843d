package wire

import (
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
)

func options(fields []Field) (all []*corev3.HeaderValueOption) {
	for _, f := range fields {
		all = append(all, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: f.Name, Value: f.Value}})
	}
	return all
}

// generated is an answer in the generated types.
func generated(a *Answer) *authv3.CheckResponse {
	out := &authv3.CheckResponse{Status: &status.Status{Code: a.Code}, DynamicMetadata: &structpb.Struct{}}
	for _, f := range a.Metadata {
		if out.DynamicMetadata.Fields == nil {
			out.DynamicMetadata.Fields = map[string]*structpb.Value{}
		}
		out.DynamicMetadata.Fields[f.Name] = structpb.NewStringValue(f.Value)
	}
	if a.Allowed {
		out.Status.Code = 0
		out.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: options(a.Headers), HeadersToRemove: a.Remove, ResponseHeadersToAdd: options(a.ResponseHeaders),
		}}
		return out
	}
	out.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)}, Headers: options(a.Headers), Body: a.Body,
	}}
	return out
}

// reads appends an answer behind something else, and reads it with the generated types.
func reads(t *testing.T, a *Answer) *authv3.CheckResponse {
	t.Helper()
	const before = "before"
	b := a.Append([]byte(before))
	rest, ok := strings.CutPrefix(string(b), before)
	if !ok {
		t.Fatal("what lay before the answer has changed")
	}
	out := &authv3.CheckResponse{}
	if err := proto.Unmarshal([]byte(rest), out); err != nil {
		t.Fatalf("the answer can't be read: %v\n%x", err, rest)
	}
	return out
}

func TestAnswersReadAsTheGeneratedTypesWriteThem(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, a := range map[string]Answer{
		"allowed": {
			Allowed: true, Headers: []Field{{"x-weir-tenant", "initech"}, {"x-weir-plan", "basic"}}, Remove: []string{"x-weir-reason"},
			ResponseHeaders: []Field{{"ratelimit", `"apiCalls";r=6`}}, Metadata: []Field{{"tenant", "initech"}, {"check", long}, {"empty", ""}},
		},
		"allowed, bare":                      {Allowed: true},
		"allowed, with the code of a denial": {Allowed: true, Code: 7, Status: 403, Body: "no"},
		"denied":                             {Code: 7, Status: 402, Body: long, Headers: []Field{{"content-type", "application/problem+json"}}, Metadata: []Field{{"reason", "license_missing"}}},
		"denied, bare":                       {Code: 14, Status: 503},
	} {
		if got, want := reads(t, &a), generated(&a); !cmp.Equal(got, want, protocmp.Transform()) {
			t.Errorf("%s: %s", name, cmp.Diff(want, got, protocmp.Transform()))
		}
	}
}

func TestAnswersOfAnyLengthAreRead(t *testing.T) {
	for _, size := range []int{0, 1, 100, 110, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 16_300, 16_370, 16_383, 16_384, 3 << 20} {
		text := strings.Repeat("v", size)
		for _, a := range []Answer{
			{Allowed: true, Headers: []Field{{"h", text}}, Metadata: []Field{{"m", text}}},
			{Code: 7, Status: 403, Body: text, Headers: []Field{{text, ""}}},
		} {
			if got, want := reads(t, &a), generated(&a); !proto.Equal(got, want) {
				t.Errorf("%d bytes: another answer is read", size)
			}
		}
	}
}

func TestTheZeroAnswerAndContradictoryOnesDeny(t *testing.T) {
	for _, a := range []Answer{{}, {Code: 7}, {Status: 403}, {Code: 7, Status: 200}, {Headers: []Field{{"a", "b"}}}} {
		out := reads(t, &a)
		if out.GetStatus().GetCode() == 0 || out.GetOkResponse() != nil || out.GetDeniedResponse().GetStatus().GetCode() < 400 {
			t.Errorf("%+v reads %v", a, out)
		}
	}
}

func FuzzAnswerReadsAsTheGeneratedTypesWriteIt(f *testing.F) {
	f.Add(true, int32(0), int32(0), "x-weir-tenant", "initech", "", uint8(1))
	f.Add(false, int32(7), int32(402), "content-type", "application/problem+json", `{"status":402}`, uint8(3))
	f.Fuzz(func(t *testing.T, allowed bool, code, status int32, name, value, body string, n uint8) {
		if !utf8.ValidString(name) || !utf8.ValidString(value) || !utf8.ValidString(body) || code <= 0 || status < leastError {
			return
		}
		a := Answer{Allowed: allowed, Code: code, Status: status, Body: body, Metadata: []Field{{name, value}}}
		for range n {
			a.Headers = append(a.Headers, Field{name, value})
			a.Remove = append(a.Remove, name)
			a.ResponseHeaders = append(a.ResponseHeaders, Field{value, name})
		}
		if got, want := reads(t, &a), generated(&a); !proto.Equal(got, want) {
			t.Error(cmp.Diff(want, got, protocmp.Transform()))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	const license = "arn:aws:license-manager::294406891311:license:l-0123456789abcdef"
	a := Answer{
		Allowed: true,
		Headers: []Field{
			{"x-weir-tenant", "initech"},
			{"x-weir-account", "111122223333"},
			{"x-weir-license", license},
			{"x-weir-plan", "basic"},
			{"x-weir-decision", "allowed"},
		},
		Metadata: []Field{
			{"tenant", "initech"},
			{"account", "111122223333"},
			{"license", license},
			{"plan", "basic"},
			{"route", "reports"},
			{"decision", "allowed"},
			{"reason", "allowed"},
			{"check", strings.Repeat("token", 16)},
		},
	}
	room := make([]byte, 0, answerSize)
	b.ReportAllocs()
	for b.Loop() {
		a.Append(room)
	}
}
