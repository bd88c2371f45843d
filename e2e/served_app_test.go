package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// actor is an application that ends each request as the last part of its path says,
// and counts for each case by itself what it has done, in the units of the case.
type actor struct {
	mu   sync.Mutex
	done map[string]int64
	gone sync.Map // what ends the client of a request, by its x-id
}

func (a *actor) add(name string, units int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == nil {
		a.done = map[string]int64{}
	}
	a.done[name] += units
}

// count is what was done of a case so far.
func (a *actor) count(name string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done[name]
}

// ServeHTTP plays the case that the path names.
func (a *actor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	code, err := strconv.Atoi(name)
	switch {
	case err == nil:
		a.add(name, 1)
		w.WriteHeader(code)
	case name == "gone", name == "goneInBody":
		a.leave(w, r, name)
	case name == "cut":
		a.add(name, 1)
		_, _ = io.WriteString(w, "the beginning")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case name == "redirect":
		a.add(name, 1)
		w.Header().Set("location", "http://"+r.Host+"/v1/app/landed")
		w.WriteHeader(http.StatusFound)
	case name == "websocket":
		a.websocket(w)
	default:
		a.measured(w, r, name)
	}
}

// leave has the client go away, before or after the response has begun.
func (a *actor) leave(w http.ResponseWriter, r *http.Request, name string) {
	if name == "goneInBody" {
		_, _ = io.WriteString(w, "the beginning")
		_ = http.NewResponseController(w).Flush()
	} else if end, ok := a.gone.Load(r.Header.Get("x-id")); ok {
		end.(context.CancelFunc)()
	}
	a.add(name, 1)
	<-r.Context().Done()
}

// websocket switches protocols and repeats one message.
func (a *actor) websocket(w http.ResponseWriter) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	a.add("websocket", 1)
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_ = rw.Flush()
	said := make([]byte, 4)
	if _, err := io.ReadFull(rw, said); err == nil {
		_, _ = conn.Write(said)
	}
}

// measured answers with the quantity that x-units asks for, where the case has it.
func (a *actor) measured(w http.ResponseWriter, r *http.Request, name string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	units, _ := strconv.ParseInt(r.Header.Get("x-units"), 10, 64)
	switch name {
	case "header":
		w.Header().Set("x-units", r.Header.Get("x-units"))
	case "twice":
		w.Header()["X-Units"] = []string{"1", "2"}
	case "trailer":
		w.Header().Set("Trailer", "x-units")
	case "requestBytes":
		units = int64(len(body))
	case "responseBytes":
		_, _ = io.WriteString(w, strings.Repeat("x", int(units)))
	default:
		units = 1
	}
	a.add(name, units)
	if name == "trailer" {
		_, _ = io.WriteString(w, "before the trailer")
		w.Header().Set("x-units", r.Header.Get("x-units"))
	}
}

// serve plays a case over gRPC: the method is a code, after its number of messages.
func (a *actor) serve(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	name := path.Base(method)
	md, _ := metadata.FromIncomingContext(stream.Context())
	in := &wrapperspb.StringValue{}
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	if name == "Trailer" {
		units, _ := strconv.ParseInt(md.Get("x-units")[0], 10, 64)
		a.add(name, units)
		stream.SetTrailer(metadata.Pairs("x-units", md.Get("x-units")[0]))
		return stream.SendMsg(in)
	}
	a.add(name, 1)
	word, after := strings.CutSuffix(name, "AfterMessage")
	if after || word == "OK" {
		if err := stream.SendMsg(in); err != nil {
			return err
		}
	}
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(strconv.Quote(word))); err != nil {
		return err
	}
	return status.Error(code, "as asked")
}
