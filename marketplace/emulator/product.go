package emulator

// Pricing models, as weir and AWS's seller documentation name them.
const (
	modelContract     = "contract"
	modelSubscription = "subscription"
	modelConsumption  = "contractWithConsumption"
)

// Kinds of agreement: concurrent ones are named by a LicenseArn, legacy ones by product code and customer identifier.
const (
	agreementsConcurrent = "concurrent"
	agreementsLegacy     = "legacy"
)

// Types of a dimension in a listing.
const (
	typeEntitled = "Entitled"
	typeMetered  = "ExternallyMetered"
)

// product is a listing.
type product struct {
	Code       string      `json:"code"`
	ID         string      `json:"id"`
	Model      string      `json:"model"`
	Agreements string      `json:"agreements"`
	Dimensions []dimension `json:"dimensions"`
}

// dimension is what a listing sells by name.
type dimension struct {
	Key   string   `json:"key"`
	Types []string `json:"types"`
	Unit  string   `json:"unit,omitempty"`
}

// sells is true when the listing has a dimension of that name and type.
func (p *product) sells(key, kind string) bool {
	for _, d := range p.Dimensions {
		if d.Key != key {
			continue
		}
		for _, t := range d.Types {
			if t == kind {
				return true
			}
		}
	}
	return false
}
