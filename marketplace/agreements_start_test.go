package marketplace

import (
	"testing"
	"time"
)

func TestAWatchLooksNotBehindItsStartUnlessAWSTimeDoes(t *testing.T) {
	start := time.Date(2026, 3, 10, 14, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name               string
		since, began, want time.Time
	}{
		{"the first look", start, start, start},
		{"soon after", start.Add(time.Minute), start.Add(2 * time.Minute), start},
		{"long after", start.Add(time.Hour), start.Add(time.Hour + time.Minute), start.Add(55 * time.Minute)},
		{"time went back", start.Add(time.Hour), start.Add(-time.Hour), start.Add(-65 * time.Minute)},
	} {
		w := &productWatch{started: start, since: tt.since}
		if got := w.from(tt.began); !got.Equal(tt.want) {
			t.Errorf("%s goes back to %v, want %v", tt.name, got, tt.want)
		}
	}
}
