package wire

// The numbers of the fields that are read and written.
const (
	// Of an entry of any map.
	entryKey, entryValue = 1, 2

	// envoy.service.auth.v3.CheckRequest, AttributeContext, its Peer, Request and HttpRequest.
	checkAttributes = 1

	attributesSource            = 1
	attributesRequest           = 4
	attributesContextExtensions = 10
	attributesMetadataContext   = 11

	peerPrincipal = 4
	requestHTTP   = 2

	httpID        = 1
	httpMethod    = 2
	httpHeaders   = 3
	httpPath      = 4
	httpHost      = 5
	httpHeaderMap = 13

	// envoy.config.core.v3.HeaderMap, HeaderValue, HeaderValueOption and Metadata.
	headerMapHeaders = 1

	headerKey      = 1
	headerValue    = 2
	headerRawValue = 3

	optionHeader = 1

	metadataFilterMetadata = 1

	// google.protobuf.Struct and Value.
	structFields = 1

	valueNull   = 1
	valueNumber = 2
	valueString = 3
	valueBool   = 4
	valueStruct = 5
	valueList   = 6

	// envoy.service.auth.v3.CheckResponse, OkHttpResponse and DeniedHttpResponse.
	responseStatus          = 1
	responseDenied          = 2
	responseOK              = 3
	responseDynamicMetadata = 4

	okHeaders              = 2
	okHeadersToRemove      = 5
	okResponseHeadersToAdd = 6

	deniedStatus  = 1
	deniedHeaders = 2
	deniedBody    = 3

	// google.rpc.Status and envoy.type.v3.HttpStatus.
	statusCode     = 1
	httpStatusCode = 1

	// envoy.service.accesslog.v3.StreamAccessLogsMessage and its HTTPAccessLogEntries.
	messageHTTP = 2
	messageTCP  = 3
	listEntry   = 1

	// envoy.data.accesslog.v3.HTTPAccessLogEntry, AccessLogCommon, HTTPRequestProperties and
	// HTTPResponseProperties, and google.protobuf.UInt32Value.
	logCommon   = 1
	logRequest  = 3
	logResponse = 4

	commonFirstUpstreamByte = 9
	commonMetadata          = 17
	commonIntermediate      = 27
	commonType              = 33

	requestBodyBytes = 12

	responseCode      = 1
	responseBodyBytes = 3
	responseHeaders   = 4
	responseTrailers  = 5
	responseDetails   = 6

	wrapperValue = 1
)
