package emulator

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// millionths is the resolution of AWS's decimal quantities: at most six decimals.
const millionths = 1_000_000

// quantity is an amount of usage in millionths of a unit, so that 17, 17.0 and 17.00 are the same.
type quantity int64

const (
	// maxWhole is the largest Quantity (service model: 0..2147483647).
	maxWhole = 1<<31 - 1
	// maxQuantity is the largest QuantityAsDecimal: ten digits and six decimals.
	maxQuantity = quantity(9_999_999_999_999_999)

	decimalPattern = `^(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?$`
)

// parseDecimal reads a QuantityAsDecimal; false where the service model's pattern does not match.
func parseDecimal(s string) (quantity, bool) {
	whole, fraction, pointed := strings.Cut(s, ".")
	if !digitsOnly(whole) || len(whole) > 10 || len(whole) > 1 && whole[0] == '0' {
		return 0, false
	}
	if pointed && (!digitsOnly(fraction) || len(fraction) > 6) {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", 6-len(fraction)), 10, 64)
	return quantity(n), err == nil
}

// number is the quantity as a JSON number without needless decimals.
func (q quantity) number() json.Number {
	whole, fraction := q/millionths, q%millionths
	if fraction == 0 {
		return json.Number(strconv.FormatInt(int64(whole), 10))
	}
	return json.Number(strings.TrimRight(fmt.Sprintf("%d.%06d", whole, fraction), "0"))
}
