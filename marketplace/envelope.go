package marketplace

// The types of messages that SNS sends (AWS: SNS message and JSON formats).
const (
	typeNotification = "Notification"
	typeSubscribe    = "SubscriptionConfirmation"
	typeUnsubscribe  = "UnsubscribeConfirmation"
)
