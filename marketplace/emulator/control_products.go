package emulator

import (
	"slices"
	"strings"
)

// Control calls about listings.

const maxProducts = 1000

// productDocument is the body of PUT /_control/products/{code}.
type productDocument struct {
	ID         string      `json:"id"`
	Model      string      `json:"model"`
	Agreements string      `json:"agreements"`
	Dimensions []dimension `json:"dimensions"`
}

func (e *Emulator) putProduct(c *controlCall) (any, error) {
	code := c.r.PathValue("code")
	if len(code) > maxNameLength || !consists(code, "-/=:_.@") {
		return nil, invalid("use letters, digits and -/=:_.@", "the product code does not match %s", productPattern)
	}
	var document productDocument
	if err := c.read(&document); err != nil {
		return nil, err
	}
	p := &product{
		Code: code, ID: document.ID, Model: orDefault(document.Model, modelConsumption),
		Agreements: orDefault(document.Agreements, agreementsConcurrent), Dimensions: listed(document.Dimensions),
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	old, known := e.products[code]
	switch {
	case !known && len(e.products) >= maxProducts:
		return nil, conflict("POST /_control/reset", "there are %d products already", maxProducts)
	case !known:
		p.ID = orDefault(p.ID, newProductID())
		e.products[code] = p
		e.openTopics(code)
		return p, nil
	case old.Agreements != p.Agreements && len(e.licenses.byProduct[code]) > 0:
		return nil, conflict("use another product code, or POST /_control/reset", "agreements can't change while product %s has licenses", code)
	}
	p.ID = orDefault(p.ID, old.ID)
	*old = *p
	return old, nil
}

func orDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// check is nil for a listing that makes sense.
func (p *product) check() error {
	if err := oneOf("model", p.Model, modelContract, modelSubscription, modelConsumption); err != nil {
		return err
	}
	if err := oneOf("agreements", p.Agreements, agreementsConcurrent, agreementsLegacy); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, d := range p.Dimensions {
		if d.Key == "" || len(d.Key) > maxNameLength {
			return invalid("give each dimension a key of 1 to 255 characters", "dimensions[%d].key is missing or too long", i)
		}
		if len(d.Types) == 0 {
			return invalid(`give it types, such as ["Entitled"] or ["ExternallyMetered"]`, "dimension %s has no types", clip(d.Key))
		}
		for _, t := range d.Types {
			if err := oneOf("types of dimension "+clip(d.Key), t, typeEntitled, typeMetered); err != nil {
				return err
			}
			if seen[d.Key+"\x00"+t] {
				return invalid("list it once", "dimension %s is there twice as %s", clip(d.Key), t)
			}
			seen[d.Key+"\x00"+t] = true
		}
	}
	return nil
}

// oneOf is nil when value is one of those allowed.
func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return invalid("use "+strings.Join(allowed, ", "), "%s is %q", name, clip(value))
}
