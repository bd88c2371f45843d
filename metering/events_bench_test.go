package metering_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/metering/ledgertest"
	"github.com/weirhq/weir/policy"
)

// BenchmarkReport reports batches of 500 events over 10,000 licenses from so many callers at once.
func BenchmarkReport(b *testing.B) {
	const size, held = 500, 10_000
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(callers, " callers"), func(b *testing.B) {
			m := newMeter(b, journal(b), new(clock).at(ledgertest.Hour()))
			licenses := make([]*policy.License, held)
			for i := range licenses {
				licenses[i] = license(policy.Key(fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i)))
			}
			var number atomic.Int64
			batches := make(chan int)
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					events := make([]metering.Event, size)
					for range batches {
						for i := range events {
							n := number.Add(1)
							events[i] = metering.Event{
								ID: metering.NewEventID("https://app.example/usage", fmt.Sprint("01JD8Z6J9Q3T", n)), License: licenses[n*7919%held],
								Feature: "apiCalls", Terms: monthly(1000, policy.ThenBill), Quantity: 3, Time: ledgertest.Hour().Add(time.Second),
							}
						}
						if _, err := m.Report(b.Context(), events); err != nil {
							b.Error(err)
						}
					}
				})
			}
			began := processorTime(b)
			for b.Loop() {
				batches <- size
			}
			close(batches)
			all.Wait()
			b.ReportMetric(size*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64((processorTime(b)-began).Nanoseconds())/size/float64(b.N), "cpu-ns/event")
		})
	}
}
