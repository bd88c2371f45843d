package policy

import "time"

// View is what memory knows at one instant: an immutable snapshot.
type View interface {
	// Find is what the subject holds for the product, and how sure that is.
	Find(s Subject, product string) (*Holding, Knowledge)
	// Confirmed is when the last complete read of everything the product's buyers
	// hold began; zero: never. A product that needs no reads is confirmed always.
	Confirmed(product string) time.Time
}

// Knowledge is how sure memory is of what a subject holds.
type Knowledge uint8

// The kinds of knowledge.
const (
	Unknown    Knowledge = iota // not in memory: may be looked up
	Unanswered                  // looked up, without an answer in time
	Absent                      // certainly holds nothing
	Present                     // holds what the Holding says
)
