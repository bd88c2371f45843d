package main

import (
	"cmp"
	"slices"
	"time"
)

// spread is the middle of some numbers, and the least and greatest of them.
type spread struct{ median, least, most float64 }

func spreadOf[T any](of []T, number func(T) float64) spread {
	if len(of) == 0 {
		return spread{}
	}
	numbers := make([]float64, len(of))
	for i, each := range of {
		numbers[i] = number(each)
	}
	slices.Sort(numbers)
	middle := numbers[len(numbers)/2]
	if len(numbers)%2 == 0 {
		middle = (middle + numbers[len(numbers)/2-1]) / 2
	}
	return spread{middle, numbers[0], numbers[len(numbers)-1]}
}

// The ratios of weir to A in one round.
func (p pair) cpu() float64 { return ratio(p.weir.cpu, p.a.cpu) }
func (p pair) p50() float64 { return ratio(p.weir.p50, p.a.p50) }
func (p pair) p99() float64 { return ratio(p.weir.p99, p.a.p99) }

func ratio(weir, a time.Duration) float64 { return float64(weir) / float64(a) }

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// of is the spread of a number over the rounds.
func (r *row) of(number func(pair) float64) spread { return spreadOf(r.rounds, number) }

// calmest is the round in which the machine held both up least.
func (r *row) calmest() pair {
	return slices.MinFunc(r.rounds, func(a, b pair) int { return cmp.Compare(a.a.p99+a.weir.p99, b.a.p99+b.weir.p99) })
}

// quantiles are latencies in microseconds at parts of all requests, the middle of the rounds.
func (r *row) quantiles(of func(pair) *figure, parts []float64) []point {
	points := make([]point, len(parts))
	for i, q := range parts {
		at := r.of(func(p pair) float64 {
			all := of(p).latencies
			return micro(all[min(int(q*float64(len(all))), len(all)-1)])
		})
		points[i] = point{q * 100, at.median}
	}
	return points
}
