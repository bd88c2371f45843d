package emulator

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// Protocols of AWS, told apart by what the request carries.
const (
	protocolCBOR  = "cbor"  // Smithy RPC v2: /service/<service>/operation/<operation>
	protocolJSON  = "json"  // awsJson 1.0 and 1.1: X-Amz-Target: <service>.<operation>
	protocolQuery = "query" // awsQuery: form field Action
)

const (
	headerTarget        = "X-Amz-Target"
	headerAuthorization = "Authorization"
	headerSmithy        = "Smithy-Protocol"
	headerRequestID     = "X-Amzn-Requestid"
	smithyCBOR          = "rpc-v2-cbor"
)

// maxBody bounds a request of an SDK, in bytes: above what any operation takes (BatchMeterUsage < 1 MB, an SQS
// batch 1 MiB and its envelope).
const maxBody = 4 << 20

// route is where an operation is found: a protocol, and the name that the request gives in it.
type route struct {
	protocol string
	name     string // "<service>.<operation>"; of awsQuery "<operation>"
}

// service is what the operations of one AWS service have in common.
type service struct {
	target       string // the X-Amz-Target prefix, and the service of Smithy's path
	signing      string // the service name in the credential scope
	namespace    string // before "#" in the __type of errors; empty: none
	jsonVersion  string
	query        string         // xmlns of awsQuery
	throttled    string         // the service's name for a throttled call
	internal     string         // its name for a failure of its own
	queryErrors  bool           // it carries x-amzn-query-error (awsQueryCompatible)
	anonymous    bool           // it takes calls without a signature; one that is there must be good
	unauthorized int            // the status of refused signatures
	statuses     map[string]int // HTTP statuses of errors, where they are not as statusOf says
}

// operation is one entry of the table of what the emulator can do.
type operation struct {
	name    string // AWS's name
	service *service
	serve   func(ctx context.Context, c *call) (object, error)
}

// call is one AWS request on its way through the emulator.
type call struct {
	operation *operation
	in        object // the decoded request
	size      int    // of its body, in bytes
	endpoint  string // how the request addressed the emulator
	signed    bool   // whether it carries a signature
	fault     *fault // one that the operation itself must act on
}

// codec reads and writes the bodies of one protocol.
type codec interface {
	decode(body []byte) (object, error)
	write(w http.ResponseWriter, op *operation, out object)
	writeError(w http.ResponseWriter, s *service, err *apiError)
}

// exchange is one request with what has been found out about it so far.
type exchange struct {
	w     *datedWriter
	r     *http.Request
	body  []byte
	codec codec
	entry *callEntry
}

// serveAWS answers one request of an AWS SDK.
func (e *Emulator) serveAWS(w *datedWriter, r *http.Request) {
	x := &exchange{w: w, r: r}
	w.Header().Set(headerRequestID, newUUID())
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		x.codec = jsonCodec{}
		e.note(x, "")
		e.answerError(x, &service{}, bodyError(err))
		return
	}
	x.body = body
	where, codec, name := e.route(r, body)
	x.codec = codec
	e.note(x, name)
	op := e.operations[where]
	if op == nil {
		e.answerError(x, &service{}, unknownOperation(where.protocol, name))
		return
	}
	if refusal := e.authenticate(r, body, op.service, where.protocol); refusal != nil {
		e.answerError(x, op.service, refusal)
		return
	}
	in, err := codec.decode(body)
	if err != nil {
		e.answerError(x, op.service, refuse("SerializationException", "%v", err))
		return
	}
	e.perform(x, &call{operation: op, in: in, size: len(body), endpoint: requestEndpoint(r), signed: r.Header.Get(headerAuthorization) != ""})
}

// perform carries out an operation, or the fault that takes its place.
func (e *Emulator) perform(x *exchange, c *call) {
	f := e.takeFault(c)
	if f != nil && !f.carriesOut() {
		e.playFault(x, c, f)
		return
	}
	c.fault = f
	out, err := c.operation.serve(x.r.Context(), c)
	if f != nil {
		e.finishFault(x, f)
	}
	if err != nil {
		var refusal *apiError
		if !errors.As(err, &refusal) {
			refusal = refuse(c.operation.service.internal, "%v", err)
		}
		e.answerError(x, c.operation.service, refusal)
		return
	}
	x.entry.answered(e, http.StatusOK)
	x.codec.write(x.w, c.operation, out)
}

func (e *Emulator) answerError(x *exchange, s *service, err *apiError) {
	sent := *err
	sent.status = err.statusIn(s)
	x.entry.answered(e, sent.status)
	e.log.Info("aws_call_refused", "operation", x.entry.Operation, "code", sent.code, "status", sent.status)
	x.codec.writeError(x.w, s, &sent)
}

// route finds where a request belongs, as AWS does.
func (e *Emulator) route(r *http.Request, body []byte) (route, codec, string) {
	if r.Header.Get(headerSmithy) == smithyCBOR {
		svc, op := smithyPath(r.URL.Path)
		return route{protocolCBOR, svc + "." + op}, cborCodec{}, op
	}
	if target := r.Header.Get(headerTarget); target != "" {
		_, op, _ := strings.Cut(target, ".")
		return route{protocolJSON, target}, jsonCodec{}, op
	}
	if r.Method == http.MethodGet && r.URL.Path == entityPath {
		return route{protocolREST, "DescribeEntity"}, newRESTCodec(r), "DescribeEntity"
	}
	form := queryForm(r, body)
	action := form.Get("Action")
	if action == "" {
		return route{}, jsonCodec{}, ""
	}
	return route{protocolQuery, action}, queryCodec{form: form}, action
}

// smithyPath takes /service/<service>/operation/<operation> apart.
func smithyPath(path string) (svc, op string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) != 4 || parts[0] != "service" || parts[2] != "operation" {
		return "", ""
	}
	return parts[1], parts[3]
}

// queryForm is the parameters of an awsQuery request, from its body and its URL.
func queryForm(r *http.Request, body []byte) url.Values {
	form := r.URL.Query()
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" {
		return form
	}
	posted, err := url.ParseQuery(string(body))
	if err != nil {
		return form
	}
	for name, values := range posted {
		form[name] = append(form[name], values...)
	}
	return form
}

// requestEndpoint is the URL by which the client reached the emulator.
func requestEndpoint(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// locked makes an operation of a function that runs with e.mu held, after everything due has happened.
func (e *Emulator) locked(serve func(c *call) (object, error)) func(context.Context, *call) (object, error) {
	return func(_ context.Context, c *call) (object, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.settle()
		return serve(c)
	}
}
