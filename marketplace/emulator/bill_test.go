package emulator_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering/types"
	"pgregory.net/rapid"

	"github.com/weirhq/weir/marketplace/emulator"
)

// model is what AWS would bill, told as simply as possible.
type model struct {
	now   time.Time
	ended map[string]time.Time // by LicenseArn
	bill  map[string]int32     // by license, dimension and hour
}

// take is the model of one batch: the statuses, or nothing where AWS refuses it.
func (m *model) take(batch []types.UsageRecord) []string {
	for _, r := range batch {
		age := m.now.Sub(*r.Timestamp)
		monthEnd := time.Date(r.Timestamp.Year(), r.Timestamp.Month()+1, 1, 6, 0, 0, 0, time.UTC)
		end, over := m.ended[*r.LicenseArn]
		outside := over && m.now.Sub(end) < time.Hour && r.Timestamp.After(end)
		if age < 0 || age >= 24*time.Hour || !m.now.Before(monthEnd) || outside {
			return nil
		}
	}
	statuses := []string{}
	for _, r := range batch {
		key := *r.LicenseArn + " " + *r.Dimension + " " + r.Timestamp.Truncate(time.Hour).Format(time.RFC3339)
		billed, taken := m.bill[key]
		end, over := m.ended[*r.LicenseArn]
		switch {
		case over && !m.now.Before(end.Add(time.Hour)):
			statuses = append(statuses, "CustomerNotSubscribed")
		case taken && billed != *r.Quantity:
			statuses = append(statuses, "DuplicateRecord")
		default:
			m.bill[key] = *r.Quantity
			statuses = append(statuses, "Success")
		}
	}
	return statuses
}

func (m *model) lines() []billLine {
	lines := []billLine{}
	for key, quantity := range m.bill {
		var l billLine
		if _, err := fmt.Sscan(key, &l.License, &l.Dimension, &l.Hour); err != nil {
			panic(err)
		}
		l.Quantity = json.Number(fmt.Sprint(quantity))
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b billLine) int {
		return cmp.Or(cmp.Compare(a.License, b.License), cmp.Compare(a.Dimension, b.Dimension), cmp.Compare(a.Hour, b.Hour))
	})
	return lines
}

func TestTheBillIsThatOfASimpleModel(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	rapid.Check(t, func(rt *rapid.T) {
		w.must(http.MethodPost, "reset", "", nil)
		m := &model{now: at(t, "2026-11-29T20:00:00Z"), ended: map[string]time.Time{}, bill: map[string]int32{}}
		w.clock(m.now.Format(time.RFC3339))
		w.must(http.MethodPut, "products/acme", `{"dimensions":[{"key":"calls","types":["ExternallyMetered"]},{"key":"bytes","types":["ExternallyMetered"]}]}`, nil)
		buyers := []license{w.buyer("acme", buyerAccount, ""), w.buyer("acme", buyerAccount, "")}
		record := rapid.Custom(func(rt *rapid.T) types.UsageRecord {
			back := time.Duration(rapid.IntRange(-1, 26*4).Draw(rt, "quarters back")) * 15 * time.Minute
			if rapid.IntRange(0, 3).Draw(rt, "recent") > 0 {
				back %= 3 * time.Hour
			}
			return usage(rapid.SampledFrom(buyers).Draw(rt, "license"), rapid.SampledFrom([]string{"calls", "bytes"}).Draw(rt, "dimension"),
				m.now.Add(-back), rapid.Int32Range(0, 2).Draw(rt, "quantity"))
		})
		rt.Repeat(map[string]func(*rapid.T){
			"send": func(rt *rapid.T) {
				batch := rapid.SliceOfN(record, 1, 4).Draw(rt, "batch")
				expected := m.take(batch)
				var got []string
				out, err := w.meter(batch...)
				if err == nil {
					got = []string{}
					for _, result := range out.Results {
						got = append(got, string(result.Status))
						if (result.Status == "Success") != (aws.ToString(result.MeteringRecordId) != "") {
							rt.Fatalf("%s with id %q", result.Status, aws.ToString(result.MeteringRecordId))
						}
					}
				}
				if (err != nil) != (expected == nil) || !slices.Equal(got, expected) {
					rt.Fatalf("got %v, %v; want %v", got, err, expected)
				}
			},
			"pass time": func(rt *rapid.T) {
				minutes := rapid.IntRange(1, 10).Draw(rt, "quarters") * 15
				m.now = m.now.Add(time.Duration(minutes) * time.Minute)
				w.advance(fmt.Sprintf("%dm", minutes))
			},
			"end": func(rt *rapid.T) {
				l := rapid.SampledFrom(buyers).Draw(rt, "license")
				if _, over := m.ended[l.LicenseArn]; over {
					rt.Skip()
				}
				m.ended[l.LicenseArn] = m.now
				w.must(http.MethodPost, l.on("cancel"), "", nil)
			},
			"": func(rt *rapid.T) {
				if got := w.bill(); !slices.Equal(got, m.lines()) {
					rt.Fatalf("bill %v, want %v", got, m.lines())
				}
			},
		})
	})
}
