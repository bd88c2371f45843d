package pace

import (
	"testing"
	"time"
)

func TestInNoSecondMoreThanTheQuotaLeave(t *testing.T) {
	w, start := NewWindow(5), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var turns []time.Time
	for i := range 100 {
		turn, ok := w.Reserve(start.Add(time.Duration(i)*17*time.Millisecond), time.Time{})
		if !ok {
			t.Fatalf("call %d has no turn", i)
		}
		turns = append(turns, turn)
	}
	for i := 5; i < len(turns); i++ {
		if turns[i].Sub(turns[i-5]) <= time.Second {
			t.Fatalf("turns %d to %d lie within %s", i-5, i, turns[i].Sub(turns[i-5]))
		}
	}
	if !turns[4].Equal(start.Add(68 * time.Millisecond)) {
		t.Errorf("the fifth call waits until %s", turns[4])
	}
}

func TestATurnThatComesTooLateIsLeftToOthers(t *testing.T) {
	w, now := NewWindow(1), time.Now()
	w.Reserve(now, now)
	if _, ok := w.Reserve(now, now.Add(time.Second)); ok {
		t.Error("a second call within the same second")
	}
	if turn, ok := w.Reserve(now, now.Add(2*time.Second)); !ok || turn.Sub(now) > 2*time.Second {
		t.Errorf("got %s, %t: the turn that was refused is lost", turn.Sub(now), ok)
	}
}
