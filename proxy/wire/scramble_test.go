package wire

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// randomCheck is a check with some of everything, from few names so that they meet.
func randomCheck(r *rand.Rand) *authv3.CheckRequest {
	text := func() string { return fmt.Sprintf("%c%d", 'a'+r.IntN(3), r.IntN(3)) }
	http := &authv3.AttributeContext_HttpRequest{
		Id: text(), Method: "GET", Host: text(), Path: "/" + text(), Size: 7, Protocol: "HTTP/1.1", Body: text(), Headers: map[string]string{},
	}
	for range r.IntN(6) {
		http.Headers[text()] = text()
	}
	if r.IntN(2) == 0 {
		http.HeaderMap = &corev3.HeaderMap{}
		for range r.IntN(5) {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: text(), Value: text(), RawValue: []byte(text())})
		}
	}
	var value func(depth int) *structpb.Value
	fields := func(depth int) *structpb.Struct {
		s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for range r.IntN(4) {
			s.Fields[text()] = value(depth + 1)
		}
		return s
	}
	value = func(depth int) *structpb.Value {
		kinds := []*structpb.Value{
			structpb.NewStringValue(text()), structpb.NewNumberValue(r.Float64() * 1e6), structpb.NewBoolValue(true),
			structpb.NewNullValue(),
			{},
			structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("x")}}),
		}
		if depth < 4 && r.IntN(2) == 0 {
			return structpb.NewStructValue(fields(depth))
		}
		return kinds[r.IntN(len(kinds))]
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:            &authv3.AttributeContext_Peer{Principal: text(), Service: text()},
		Destination:       &authv3.AttributeContext_Peer{Principal: text()},
		Request:           &authv3.AttributeContext_Request{Http: http},
		ContextExtensions: map[string]string{text(): text(), text(): text()},
		MetadataContext:   &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{text(): fields(0), text(): fields(0)}},
	}}
}

// field is one field of a message, with its tag.
type field struct {
	number protowire.Number
	kind   protowire.Type
	whole  []byte
	value  []byte // where it is length-delimited
}

func split(msg []byte) (all []field) {
	for c := (cursor{rest: msg}); ; {
		before := c.rest
		if !c.next() {
			return all
		}
		all = append(all, field{c.number, c.kind, before[:len(before)-len(c.rest)], c.value})
	}
}

// scramble rewrites a message into another one, mostly of the same meaning: the order of its
// fields changes, submessages come in several parts, fields come twice, go, or have the
// wrong type, and unknown fields and groups come in between, at every depth.
func scramble(r *rand.Rand, msg []byte, of protoreflect.MessageDescriptor) []byte {
	fields := split(msg)
	if r.IntN(3) > 0 {
		r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	}
	var out []byte
	for _, f := range fields {
		if r.IntN(25) == 0 {
			out = appendStranger(r, out)
		}
		known := of.Fields().ByNumber(f.number)
		if known == nil || known.Message() == nil || f.kind != protowire.BytesType {
			out = append(out, f.whole...)
		} else {
			out = appendScrambled(r, out, f, known)
		}
		switch r.IntN(40) {
		case 0: // twice
			out = append(out, f.whole...)
		case 1: // with another type
			out = protowire.AppendVarint(protowire.AppendTag(out, f.number, protowire.VarintType), r.Uint64())
		case 2: // empty
			out = protowire.AppendBytes(protowire.AppendTag(out, f.number, protowire.BytesType), nil)
		}
	}
	return out
}

// appendScrambled appends a submessage, in one part or in two; what comes twice by that
// is for the generated types to make sense of.
func appendScrambled(r *rand.Rand, out []byte, f field, known protoreflect.FieldDescriptor) []byte {
	inner := [][]byte{f.value}
	if parts := split(f.value); len(parts) > 1 && r.IntN(3) == 0 {
		at := len(parts[0].whole)
		inner = [][]byte{f.value[:at], f.value[at:]}
	}
	for _, part := range inner {
		out = protowire.AppendTag(out, f.number, protowire.BytesType)
		out = protowire.AppendBytes(out, scramble(r, part, known.Message()))
	}
	return out
}

// appendStranger appends a field that no message here has.
func appendStranger(r *rand.Rand, out []byte) []byte {
	number := protowire.Number(1000 + r.IntN(1000))
	switch r.IntN(5) {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(out, number, protowire.VarintType), r.Uint64())
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(out, number, protowire.Fixed32Type), 7)
	case 2:
		return protowire.AppendFixed64(protowire.AppendTag(out, number, protowire.Fixed64Type), 7)
	case 3:
		return protowire.AppendString(protowire.AppendTag(out, number, protowire.BytesType), "stranger")
	default:
		out = protowire.AppendTag(out, number, protowire.StartGroupType)
		out = protowire.AppendString(protowire.AppendTag(out, checkAttributes, protowire.BytesType), "not an attribute")
		return protowire.AppendTag(out, number, protowire.EndGroupType)
	}
}

func scrambled(t testing.TB, r *rand.Rand) []byte {
	t.Helper()
	in := randomCheck(r)
	msg, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return scramble(r, msg, in.ProtoReflect().Descriptor())
}

// scrambledMessages compares many messages of a kind with the generated types, which have to take
// so many of ten.
func scrambledMessages(t *testing.T, r *rand.Rand, next func(testing.TB, *rand.Rand) []byte, agrees func(*testing.T, []byte) bool, ofTen int) {
	t.Helper()
	const messages = 4000
	taken := 0
	for range messages {
		if agrees(t, next(t, r)) {
			taken++
		}
	}
	if taken < messages*ofTen/10 {
		t.Errorf("the generated types take %d of %d messages: the rest tests nothing", taken, messages)
	}
}

// damagedMessages does so with messages that are cut off, with a bit changed.
func damagedMessages(t *testing.T, r *rand.Rand, next func(testing.TB, *rand.Rand) []byte, agrees func(*testing.T, []byte) bool) {
	t.Helper()
	for range 100 {
		msg := next(t, r)
		for range 20 {
			damaged := append([]byte(nil), msg[:r.IntN(len(msg)+1)]...)
			if len(damaged) > 0 {
				damaged[r.IntN(len(damaged))] ^= 1 << r.IntN(8)
			}
			agrees(t, damaged)
		}
	}
}

func TestRequestSaysOfScrambledMessagesWhatTheGeneratedTypesSay(t *testing.T) {
	scrambledMessages(t, rand.New(rand.NewPCG(1, 2)), scrambled, agrees, 9)
}

func TestDamagedMessagesAreReadWithoutPanic(t *testing.T) {
	damagedMessages(t, rand.New(rand.NewPCG(3, 4)), scrambled, agrees)
}

func FuzzRequestAgreesWithTheGeneratedTypes(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		f.Add(scrambled(f, r))
	}
	f.Fuzz(func(t *testing.T, msg []byte) { agrees(t, msg) })
}
