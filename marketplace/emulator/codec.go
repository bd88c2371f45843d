package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// object is a structure on the wire, whatever the protocol. Decoded values are string, bool, json.Number, nil,
// []any and object; encoded ones may also be int, float64, epoch and []object.
type object = map[string]any

// epoch is a timestamp on the wire: seconds since 1970 in JSON, tag 1 in CBOR, ISO 8601 in XML.
type epoch time.Time

// MarshalJSON writes whole seconds as an integer, which every client reads.
func (t epoch) MarshalJSON() ([]byte, error) {
	return []byte(formatNumber(t.seconds())), nil
}

func (t epoch) seconds() float64 { return float64(time.Time(t).UnixMilli()) / 1000 }

func formatNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// jsonCodec is awsJson 1.0 and 1.1.
type jsonCodec struct{}

func (jsonCodec) decode(body []byte) (object, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return object{}, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var in any
	if err := decoder.Decode(&in); err != nil {
		return nil, errors.New("the request body is not valid JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the request body has something after its JSON")
	}
	members, ok := in.(object)
	if !ok {
		return nil, errors.New("the request body is not a JSON object")
	}
	return members, nil
}

func (jsonCodec) write(w http.ResponseWriter, op *operation, out object) {
	w.Header().Set("Content-Type", "application/x-amz-json-"+op.service.jsonVersion)
	writeJSON(w, http.StatusOK, out)
}

func (jsonCodec) writeError(w http.ResponseWriter, s *service, err *apiError) {
	version := s.jsonVersion
	if version == "" {
		version = "1.1"
	}
	w.Header().Set("Content-Type", "application/x-amz-json-"+version)
	kind := err.code
	if s.namespace != "" {
		kind = s.namespace + "#" + kind
	}
	if s.queryErrors {
		w.Header().Set("X-Amzn-Query-Error", queryErrorHeader(err))
	}
	writeJSON(w, err.status, err.body(kind))
}

// writeJSON writes a document as it is: no escapes for the sake of HTML.
func writeJSON(w http.ResponseWriter, status int, document any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(bytes.TrimSuffix(body.Bytes(), []byte("\n"))) // the client went away: nothing to tell it
}

// cborCodec is Smithy RPC v2 CBOR.
type cborCodec struct{}

func (cborCodec) decode(body []byte) (object, error) {
	if len(body) == 0 {
		return object{}, nil
	}
	value, err := cbor.Decode(body)
	if err != nil {
		return nil, errors.New("the request body is not valid CBOR")
	}
	in, err := fromCBOR(value)
	if err != nil {
		return nil, err
	}
	members, ok := in.(object)
	if !ok {
		return nil, errors.New("the request body is not a CBOR map")
	}
	return members, nil
}

func (cborCodec) write(w http.ResponseWriter, _ *operation, out object) {
	writeCBOR(w, http.StatusOK, out)
}

func (cborCodec) writeError(w http.ResponseWriter, _ *service, err *apiError) {
	writeCBOR(w, err.status, err.body(err.code))
}

func writeCBOR(w http.ResponseWriter, status int, out object) {
	w.Header().Set("Content-Type", "application/cbor")
	w.Header().Set(headerSmithy, smithyCBOR)
	w.WriteHeader(status)
	_, _ = w.Write(cbor.Encode(toCBOR(out))) // the client went away: nothing to tell it
}

func fromCBOR(value cbor.Value) (any, error) {
	switch v := value.(type) {
	case cbor.Uint:
		return json.Number(strconv.FormatUint(uint64(v), 10)), nil
	case cbor.NegInt:
		return json.Number("-" + strconv.FormatUint(uint64(v), 10)), nil
	case cbor.Float32:
		return floatFromCBOR(float64(v))
	case cbor.Float64:
		return floatFromCBOR(float64(v))
	case cbor.String:
		return string(v), nil
	case cbor.Bool:
		return bool(v), nil
	case *cbor.Nil, *cbor.Undefined:
		return nil, nil
	case *cbor.Tag:
		return fromCBOR(v.Value)
	case cbor.List:
		return listFromCBOR(v)
	case cbor.Map:
		return mapFromCBOR(v)
	}
	return nil, fmt.Errorf("the request has a CBOR value of type %T, which no member takes", value)
}

func floatFromCBOR(f float64) (any, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errors.New("the request has a number that is not finite")
	}
	return json.Number(formatNumber(f)), nil
}

func listFromCBOR(list cbor.List) (any, error) {
	out := make([]any, 0, len(list))
	for _, item := range list {
		v, err := fromCBOR(item)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func mapFromCBOR(members cbor.Map) (any, error) {
	out := make(object, len(members))
	for name, item := range members {
		v, err := fromCBOR(item)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

func toCBOR(value any) cbor.Value {
	switch v := value.(type) {
	case string:
		return cbor.String(v)
	case bool:
		return cbor.Bool(v)
	case int:
		if v < 0 {
			return cbor.NegInt(uint64(-v))
		}
		return cbor.Uint(uint64(v))
	case float64:
		return cbor.Float64(v)
	case epoch:
		return &cbor.Tag{ID: 1, Value: cbor.Float64(v.seconds())}
	case []object:
		list := make(cbor.List, 0, len(v))
		for _, item := range v {
			list = append(list, toCBOR(item))
		}
		return list
	case object:
		members := make(cbor.Map, len(v))
		for name, item := range v {
			members[name] = toCBOR(item)
		}
		return members
	}
	return &cbor.Nil{}
}

// queryCodec is awsQuery: a form in, XML out.
type queryCodec struct{ form url.Values }

func (q queryCodec) decode([]byte) (object, error) {
	in := object{}
	for name, values := range q.form {
		in[name] = values[0]
	}
	return in, nil
}

func (queryCodec) write(w http.ResponseWriter, op *operation, out object) {
	var body strings.Builder
	fmt.Fprintf(&body, `<%sResponse xmlns="%s"><%sResult>`, op.name, op.service.query, op.name)
	writeXML(&body, out)
	fmt.Fprintf(&body, "</%sResult>", op.name)
	writeXML(&body, object{"ResponseMetadata": object{"RequestId": w.Header().Get(headerRequestID)}})
	fmt.Fprintf(&body, "</%sResponse>", op.name)
	writeXMLBody(w, http.StatusOK, body.String())
}

func (queryCodec) writeError(w http.ResponseWriter, s *service, err *apiError) {
	kind := "Sender"
	if err.status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	var body strings.Builder
	fmt.Fprintf(&body, `<ErrorResponse xmlns="%s">`, s.query)
	writeXML(&body, object{"Error": object{"Type": kind, "Code": err.code, "Message": err.message}})
	writeXML(&body, object{"RequestId": w.Header().Get(headerRequestID)})
	body.WriteString("</ErrorResponse>")
	writeXMLBody(w, err.status, body.String())
}

func writeXMLBody(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client went away: nothing to tell it
}

// writeXML writes members as elements, by name.
func writeXML(body *strings.Builder, members object) {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(body, "<%s>", name)
		switch v := members[name].(type) {
		case object:
			writeXML(body, v)
		case []object:
			for _, item := range v {
				writeXML(body, object{"member": item})
			}
		case epoch:
			body.WriteString(time.Time(v).UTC().Format(time.RFC3339))
		default:
			body.WriteString(escapeXML(fmt.Sprint(v)))
		}
		fmt.Fprintf(body, "</%s>", name)
	}
}

func escapeXML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
