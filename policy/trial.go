package policy

import "time"

// Trial is what AWS told of a free trial of one license. It is shown to people and decides nothing: a trial is
// entitled and metered like any other agreement (AWS: SaaS free trials).
type Trial struct {
	Free bool
	// Ends is when the trial ends; zero: AWS did not say.
	Ends time.Time
	// Told is when AWS said so; what it said later counts.
	Told time.Time
}

// InTrial tells whether the license is a free trial at an instant, as far as is known.
func (l *License) InTrial(now time.Time) bool {
	return l.Trial != nil && l.Trial.Free && (l.Trial.Ends.IsZero() || now.Before(l.Trial.Ends))
}

// Equal tells whether two say the same; nil says nothing.
func (t *Trial) Equal(other *Trial) bool {
	if t == nil || other == nil {
		return t == other
	}
	return t.Free == other.Free && t.Ends.Equal(other.Ends) && t.Told.Equal(other.Told)
}
