package emulator

import (
	"net/http"
	"slices"
)

// operationTable is everything the emulator can do, by protocol and name. A service that speaks two protocols
// has its operations here twice.
func (e *Emulator) operationTable() map[route]*operation {
	table := map[route]*operation{}
	for _, op := range e.meteringOperations() {
		table[route{protocolJSON, op.service.target + "." + op.name}] = op
	}
	for _, op := range e.entitlementOperations() {
		table[route{protocolJSON, op.service.target + "." + op.name}] = op
		table[route{protocolCBOR, op.service.target + "." + op.name}] = op
	}
	for _, op := range e.agreementOperations() {
		table[route{protocolJSON, op.service.target + "." + op.name}] = op
		table[route{protocolCBOR, op.service.target + "." + op.name}] = op
	}
	for _, op := range e.queueOperations() {
		table[route{protocolJSON, op.service.target + "." + op.name}] = op
	}
	for _, op := range e.catalogOperations() {
		table[route{protocolREST, op.name}] = op
	}
	for _, op := range slices.Concat(e.tokenOperations(), e.topicOperations()) {
		table[route{protocolQuery, op.name}] = op
	}
	return table
}

// signingMarketplace is the service name in the credential scope of every Marketplace API.
const signingMarketplace = "aws-marketplace"

func (e *Emulator) meteringOperations() []*operation {
	metering := &service{
		target: "AWSMPMeteringService", signing: signingMarketplace, jsonVersion: "1.1",
		throttled: "ThrottlingException", internal: codeInternal, unauthorized: http.StatusBadRequest,
	}
	return []*operation{
		{"BatchMeterUsage", metering, e.locked(e.batchMeterUsage)},
		{"ResolveCustomer", metering, e.locked(e.resolveCustomer)},
	}
}

func (e *Emulator) entitlementOperations() []*operation {
	entitlement := &service{
		target: "AWSMPEntitlementService", signing: signingMarketplace, jsonVersion: "1.1",
		throttled: "ThrottlingException", internal: codeInternal, unauthorized: http.StatusBadRequest,
	}
	return []*operation{{"GetEntitlements", entitlement, e.locked(e.getEntitlements)}}
}

func (e *Emulator) agreementOperations() []*operation {
	agreement := &service{
		target: "AWSMPCommerceService_v20200301", signing: signingMarketplace, jsonVersion: "1.0",
		throttled: "ThrottlingException", internal: "InternalServerException", unauthorized: http.StatusBadRequest,
		statuses: map[string]int{
			"AccessDeniedException":         http.StatusForbidden,
			"ConflictException":             http.StatusConflict,
			"ResourceNotFoundException":     http.StatusNotFound,
			"ServiceQuotaExceededException": http.StatusPaymentRequired,
			"ThrottlingException":           http.StatusTooManyRequests,
		},
	}
	return []*operation{
		{"SearchAgreements", agreement, e.locked(e.searchAgreements)},
		{"DescribeAgreement", agreement, e.locked(e.describeAgreement)},
		{"GetAgreementEntitlements", agreement, e.locked(e.getAgreementEntitlements)},
		{"GetAgreementTerms", agreement, e.locked(e.getAgreementTerms)},
	}
}

func (e *Emulator) catalogOperations() []*operation {
	catalog := &service{
		signing: signingMarketplace, throttled: "ThrottlingException", internal: "InternalServiceException", unauthorized: http.StatusForbidden,
		statuses: map[string]int{
			"AccessDeniedException":         http.StatusForbidden,
			"ResourceNotFoundException":     http.StatusNotFound,
			"ResourceNotSupportedException": http.StatusUnsupportedMediaType,
			"ThrottlingException":           http.StatusTooManyRequests,
			validationFailed:                http.StatusUnprocessableEntity,
		},
	}
	return []*operation{{"DescribeEntity", catalog, e.locked(e.describeEntity)}}
}

func (e *Emulator) queueOperations() []*operation {
	sqs := &service{
		target: "AmazonSQS", signing: "sqs", jsonVersion: "1.0", namespace: "com.amazonaws.sqs", queryErrors: true,
		throttled: "RequestThrottled", internal: "InternalFailure", unauthorized: http.StatusForbidden,
	}
	return []*operation{
		{"CreateQueue", sqs, e.locked(e.createQueue)},
		{"GetQueueUrl", sqs, e.locked(e.getQueueURL)},
		{"ListQueues", sqs, e.locked(e.listQueues)},
		{"DeleteQueue", sqs, e.locked(e.onQueue(e.deleteQueue))},
		{"GetQueueAttributes", sqs, e.locked(e.onQueue(e.getQueueAttributes))},
		{"SetQueueAttributes", sqs, e.locked(e.onQueue(e.setQueueAttributes))},
		{"PurgeQueue", sqs, e.locked(e.onQueue(e.purgeQueue))},
		{"SendMessage", sqs, e.locked(e.onQueue(e.sendMessage))},
		{"SendMessageBatch", sqs, e.locked(e.onQueue(e.batched(e.sendMessage)))},
		{"ReceiveMessage", sqs, e.receiveMessage},
		{"DeleteMessage", sqs, e.locked(e.onQueue(e.deleteMessage))},
		{"DeleteMessageBatch", sqs, e.locked(e.onQueue(e.batched(e.deleteMessage)))},
		{"ChangeMessageVisibility", sqs, e.locked(e.onQueue(e.changeVisibility))},
		{"ChangeMessageVisibilityBatch", sqs, e.locked(e.onQueue(e.batched(e.changeVisibility)))},
	}
}

func (e *Emulator) topicOperations() []*operation {
	sns := &service{
		signing: "sns", query: "http://sns.amazonaws.com/doc/2010-03-31/",
		throttled: "Throttled", internal: "InternalError", unauthorized: http.StatusForbidden,
		statuses: map[string]int{
			snsMissing:                  http.StatusNotFound,
			snsForbidden:                http.StatusForbidden,
			"InvalidSecurity":           http.StatusForbidden,
			"SubscriptionLimitExceeded": http.StatusForbidden,
			"FilterPolicyLimitExceeded": http.StatusForbidden,
			"ReplayLimitExceeded":       http.StatusForbidden,
			"TopicLimitExceeded":        http.StatusForbidden,
			"Throttled":                 http.StatusTooManyRequests,
		},
	}
	anyone := *sns
	anyone.anonymous = true
	return []*operation{
		{"CreateTopic", sns, e.locked(e.createTopic)},
		{"Subscribe", sns, e.locked(e.subscribeOperation)},
		{"ConfirmSubscription", &anyone, e.locked(e.confirmSubscription)},
		{"Unsubscribe", &anyone, e.locked(e.unsubscribe)},
		{"Publish", sns, e.locked(e.publishOperation)},
		{"ListSubscriptions", sns, e.locked(e.listSubscriptions)},
		{"ListSubscriptionsByTopic", sns, e.locked(e.listSubscriptionsByTopic)},
	}
}

func (e *Emulator) tokenOperations() []*operation {
	sts := &service{
		signing: "sts", query: "https://sts.amazonaws.com/doc/2011-06-15/",
		throttled: "Throttling", internal: "InternalFailure", unauthorized: http.StatusForbidden,
	}
	return []*operation{
		{"GetCallerIdentity", sts, e.locked(e.getCallerIdentity)},
		{"AssumeRole", sts, e.locked(e.assumeRole)},
	}
}
