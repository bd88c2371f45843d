package emulator

import "time"

// What AWS Marketplace tells its SNS topics.

func (e *Emulator) noticeSubscribed(*license, time.Time)   {}
func (e *Emulator) noticeUnsubscribed(*license, time.Time) {}
func (e *Emulator) noticeEntitlements(*license, time.Time) {}
