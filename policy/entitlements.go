package policy

import "time"

// Entitled is what a subject may use of one product at an instant, as an application
// shows it.
type Entitled struct {
	// License is the one that is asked first; nil: none lets requests through.
	License *License
	Plan    string // name of its plan
	Trial   bool   // it is a free trial
	// Features are those that the subject may use, by name.
	Features []EntitledFeature
}

// EntitledFeature is what a subject may use of one feature, under the license that a
// request would use: the first in the order of asking whose plan grants it.
type EntitledFeature struct {
	Name string
	Type string // boolean, number, text or metered
	// Boolean, Number and Text are the value, by Type. Number has in it what licenses add.
	Boolean bool
	Number  int64
	Text    string
	// Quota is how a metered feature stands; Quota.Terms.Included has in it what licenses add.
	Quota Balance
}

// Entitled is what the subject may use of a product, and how sure that is. Quotas are
// only looked at.
func (p *Policy) Entitled(v View, who Subject, product string, now time.Time) (Entitled, Knowledge) {
	index, ok := p.productIndex[product]
	if !ok {
		return Entitled{}, Absent
	}
	h, known := v.Find(who, product)
	if known != Present {
		return Entitled{}, known
	}
	if !h.Until.IsZero() && !now.Before(h.Until) {
		h = p.Hold(h.Licenses, v.Confirmed, h.counter, now)
	}
	return p.entitled(index, &h.bundles[index], now), Present
}

func (p *Policy) entitled(product int, b *bundle, now time.Time) Entitled {
	var made Entitled
	live := 0
	for live < len(b.asked) && b.asked[live].live() && b.asked[live].plan != nil {
		live++ // they come first
	}
	if live == 0 {
		return made
	}
	made.License, made.Plan = b.asked[0].license, b.asked[0].plan.name
	made.Trial = made.License.InTrial(now)
	for i := range p.features {
		if f, ok := p.entitledFeature(product, i, b.asked[:live], b.adds, now); ok {
			made.Features = append(made.Features, f)
		}
	}
	return made
}

// entitledFeature is what the first license that grants a feature gives of it; of a
// number also what is added where no plan grants it.
func (p *Policy) entitledFeature(product, feature int, live []asked, adds []int64, now time.Time) (EntitledFeature, bool) {
	f := &p.features[feature]
	made := EntitledFeature{Name: f.name, Type: f.kind}
	from := granting(live, feature, f.kind == TypeBoolean)
	if from == nil {
		made.Number = sum(0, feature, adds)
		return made, f.kind == TypeNumber && made.Number > 0
	}
	g := &from.plan.grants[feature]
	switch f.kind {
	case TypeBoolean:
		made.Boolean = g.boolean
	case TypeText:
		made.Text = f.values[g.number]
	case TypeNumber:
		made.Number = sum(g.number, feature, adds)
	default:
		made.Quota = p.look(product, feature, from, adds, now)
	}
	return made, true
}

// granting is the first license whose plan grants a feature. A boolean that one plan
// says is off, another may say is on.
func granting(live []asked, feature int, boolean bool) (from *asked) {
	for i := range live {
		g := &live[i].plan.grants[feature]
		switch {
		case !g.given:
		case !boolean || g.boolean:
			return &live[i]
		case from == nil:
			from = &live[i]
		}
	}
	return from
}

// look looks at a quota.
func (p *Policy) look(product, feature int, from *asked, adds []int64, now time.Time) Balance {
	terms := p.terms(product, feature, from, adds)
	if from.counter == nil {
		return Balance{Terms: terms}
	}
	return from.counter.Take(Taking{Feature: feature, At: now, Terms: terms, Look: true})
}
