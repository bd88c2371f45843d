package metering

import "context"

// Tick does what Run does every second.
func (m *Meter) Tick(ctx context.Context) error { return m.close(ctx) }
