package cache

import (
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// tied is what a tenant is tied to, in the form in which tenants.db keeps it: lines of
// a word and what it is about. The first names whom the tenant stands for,
//
//	account 111122223333 | customer cust-1 | license direct:bigcorp
//
// and those that follow say more of it, in this order:
//
//	plan enterprise              of a direct customer
//	since 2026-03-01T12:00:00Z   when a direct customer's license began
//	product acme                 the tie is for this product; without such a line for every one
//	pin acme arn:aws:…           of this product the tenant holds this license and no other one
//
// It is one text and no struct so that 200,000 of them are few things to the garbage
// collector. No name in it holds a space or a line's end.
type tied string

// The words of a tied's lines.
const (
	wordPlan    = "plan"
	wordSince   = "since"
	wordProduct = "product"
	wordPin     = "pin"
)

// nextLine takes the first line off a tied.
func nextLine(t string) (word, about, rest string) {
	line, rest, _ := strings.Cut(t, "\n")
	word, about, _ = strings.Cut(line, " ")
	return word, about, rest
}

// buyer is whom the tenant stands for: an account, a customer, or a direct customer's license.
func (t tied) buyer() policy.Subject {
	who, _ := t.first()
	return who
}

// first is the buyer, with the lines that follow.
func (t tied) first() (who policy.Subject, rest string) {
	word, about, rest := nextLine(string(t))
	return policy.Subject{Kind: kindOf(word), ID: about}, rest
}

func kindOf(word string) policy.SubjectKind {
	for _, kind := range [...]policy.SubjectKind{policy.SubjectAccount, policy.SubjectCustomer, policy.SubjectLicense} {
		if word == kind.String() {
			return kind
		}
	}
	return policy.SubjectNone
}

// holder is who holds what the tenant may use of a product: its buyer, or, pinned, the
// first license that is pinned to it; nobody when the tie is for other products. It
// is on the path of requests: no allocation.
func (t tied) holder(product string) (who policy.Subject, pinned bool) {
	who, rest := t.first()
	limited, covered := false, false
	for rest != "" { // most ties are one line
		var word, about string
		word, about, rest = nextLine(rest)
		switch word {
		case wordProduct:
			limited = true
			covered = covered || about == product
		case wordPin:
			if of, key, _ := strings.Cut(about, " "); of == product && !pinned {
				who, pinned = policy.Subject{Kind: policy.SubjectLicense, ID: key}, true
			}
		}
	}
	if limited && !covered {
		return policy.Subject{}, false
	}
	return who, pinned
}

// tenant is a tied in parts.
type tenant struct {
	buyer    policy.Subject
	plan     string    // of a direct customer
	since    time.Time // when its license began
	products []string  // sorted; none: every one
	pins     []pin     // by product, then license
}

// pin is a license that one tenant holds alone.
type pin struct {
	product string
	license policy.Key
}

// parts takes a tied apart.
func (t tied) parts() tenant {
	made := tenant{buyer: t.buyer()}
	_, _, rest := nextLine(string(t))
	for rest != "" {
		var word, about string
		word, about, rest = nextLine(rest)
		switch word {
		case wordPlan:
			made.plan = about
		case wordSince:
			made.since, _ = time.Parse(time.RFC3339Nano, about) // weir wrote it, and its sum is right
		case wordProduct:
			made.products = append(made.products, about)
		case wordPin:
			of, key, _ := strings.Cut(about, " ")
			made.pins = append(made.pins, pin{of, policy.Key(key)})
		}
	}
	return made
}

// productOf is the product of which a license is pinned.
func (t tied) productOf(license policy.Key) string {
	for _, p := range t.parts().pins {
		if p.license == license {
			return p.product
		}
	}
	return ""
}

// tied puts the parts together; the empty tied where there is nobody.
func (t *tenant) tied() tied {
	if t.buyer.Kind == policy.SubjectNone {
		return ""
	}
	lines := []string{t.buyer.Kind.String() + " " + t.buyer.ID}
	if t.plan != "" {
		lines = append(lines, wordPlan+" "+t.plan, wordSince+" "+t.since.UTC().Format(time.RFC3339Nano))
	}
	for _, product := range t.products {
		lines = append(lines, wordProduct+" "+product)
	}
	for _, p := range t.pins {
		lines = append(lines, wordPin+" "+p.product+" "+string(p.license))
	}
	return tied(strings.Join(lines, "\n"))
}

// cover makes the tie one for the product too.
func (t *tenant) cover(product string) {
	if at, found := slices.BinarySearch(t.products, product); !found && len(t.products) > 0 {
		t.products = slices.Insert(t.products, at, product)
	}
}

// covers tells whether the tie is for the product.
func (t *tenant) covers(product string) bool {
	return len(t.products) == 0 || slices.Contains(t.products, product)
}

// pin adds a pin.
func (t *tenant) pin(product string, license policy.Key) {
	p := pin{product, license}
	if slices.Contains(t.pins, p) {
		return
	}
	t.pins = append(t.pins, p)
	slices.SortFunc(t.pins, func(a, b pin) int {
		return strings.Compare(a.product+" "+string(a.license), b.product+" "+string(b.license))
	})
}

// unpin takes the pins that are of a product, or of one license, away.
func (t *tenant) unpin(which func(pin) bool) {
	t.pins = slices.DeleteFunc(t.pins, which)
}

// pinned tells whether the tenant has a pin of the product.
func (t *tenant) pinned(product string) bool {
	return slices.ContainsFunc(t.pins, func(p pin) bool { return p.product == product })
}
