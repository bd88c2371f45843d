package emulator

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The shape of a BatchMeterUsage request: what each member may hold (service model 2016-01-14).

const (
	maxUsageRecords  = 25
	maxAllocations   = 2500
	maxTags          = 5
	maxMeteringBody  = 1 << 20 // bytes; a request must be smaller than 1 MB
	productPattern   = `^[-a-zA-Z0-9/=:_.@]*$`
	accountPattern   = `^[0-9]+$`
	tagPattern       = `^[a-zA-Z0-9+ -=._:\/@]+$`
	validationFailed = "ValidationException"
)

// usage is a UsageRecord of a request.
type usage struct {
	echo      object // what a result repeats: the record as it came
	arn       string
	account   string
	customer  string
	dimension string
	timestamp time.Time
	quantity  quantity
	license   *license // whose usage it is; nil where AWS knows none
}

// hour is the hour that the record is for.
func (u *usage) hour() hour {
	return hour{u.license.key(), u.dimension, u.timestamp.Truncate(time.Hour).Unix()}
}

// usageMembers are the members of UsageRecord that a result repeats.
func usageMembers() []string {
	return []string{
		"Timestamp", "CustomerIdentifier", "Dimension", "Quantity", "QuantityAsDecimal", "UsageAllocations",
		"CustomerAWSAccountId", "LicenseArn",
	}
}

// readUsage decodes the records of a request and checks each against the service model. Records come back even
// with an error, as far as they could be read.
func readUsage(in input) ([]*usage, error) {
	var broken violations
	var refusal error
	records := []*usage{}
	if broken.require(in, "usageRecords", "UsageRecords") {
		items := in.structures("UsageRecords")
		broken.count("usageRecords", len(items), 0, maxUsageRecords)
		for i, item := range items {
			u, err := readRecord(item, fmt.Sprintf("usageRecords.%d.member", i+1), &broken)
			if refusal == nil {
				refusal = err
			}
			records = append(records, u)
		}
	}
	code := in.text("ProductCode")
	broken.length("productCode", code, 0, 255)
	broken.pattern("productCode", code, productPattern, consists(code, "-/=:_.@"))
	if err := in.err(); err != nil {
		return records, err
	}
	if err := broken.err(validationFailed); err != nil {
		return records, err
	}
	return records, refusal
}

// readRecord decodes one record. Broken constraints go to broken; the error is one of those that AWS has a name
// of its own for.
func readRecord(in input, path string, broken *violations) (*usage, error) {
	u := &usage{
		arn: in.text("LicenseArn"), account: in.text("CustomerAWSAccountId"), customer: in.text("CustomerIdentifier"),
		dimension: in.text("Dimension"), timestamp: in.instant("Timestamp"), echo: object{},
	}
	for _, name := range usageMembers() {
		if in.has(name) {
			u.echo[name] = in.members[name]
		}
	}
	broken.require(in, path+".timestamp", "Timestamp")
	if broken.require(in, path+".dimension", "Dimension") {
		broken.length(path+".dimension", u.dimension, 1, 255)
	}
	if in.has("CustomerAWSAccountId") {
		broken.length(path+".customerAWSAccountId", u.account, 1, 255)
		broken.pattern(path+".customerAWSAccountId", u.account, accountPattern, digitsOnly(u.account))
	}
	broken.length(path+".customerIdentifier", u.customer, 0, 255)
	if in.has("LicenseArn") {
		broken.pattern(path+".licenseArn", u.arn, arnPattern, isLicenseArn(u.arn))
	}
	amount := readAmount(in, path, "Quantity", "QuantityAsDecimal", broken)
	u.quantity = amount.value
	if amount.whole && amount.decimal {
		broken.add(path, "Quantity, QuantityAsDecimal", "Only one of Quantity and QuantityAsDecimal may be specified")
	}
	return u, readAllocations(in, path, amount, broken)
}

// amount is a quantity and the form or forms in which it was given.
type amount struct {
	value          quantity
	whole, decimal bool
}

func readAmount(in input, path, whole, decimal string, broken *violations) amount {
	a := amount{whole: in.has(whole), decimal: in.has(decimal)}
	if a.whole {
		n := in.integer(whole)
		broken.atLeast(path+"."+lowerFirst(whole), n, 0)
		a.value = quantity(n) * millionths
	}
	if a.decimal {
		text := in.text(decimal)
		value, ok := parseDecimal(text)
		broken.length(path+"."+lowerFirst(decimal), text, 1, 17)
		broken.pattern(path+"."+lowerFirst(decimal), text, decimalPattern, ok)
		a.value = value
	}
	return a
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// readAllocations checks how a record's quantity is divided: all in the record's own form, no tag set twice, and
// the sum is the quantity.
func readAllocations(in input, path string, total amount, broken *violations) error {
	if !in.has("UsageAllocations") {
		return nil
	}
	items := in.structures("UsageAllocations")
	broken.count(path+".usageAllocations", len(items), 1, maxAllocations)
	var sum quantity
	seen := map[string]bool{}
	for i, item := range items {
		where := fmt.Sprintf("%s.usageAllocations.%d.member", path, i+1)
		part := readAmount(item, where, "AllocatedUsageQuantity", "AllocatedUsageQuantityAsDecimal", broken)
		if part.whole == part.decimal {
			return refuse("InvalidUsageAllocationsException", "Each allocation must specify exactly one of "+
				"AllocatedUsageQuantity and AllocatedUsageQuantityAsDecimal.")
		}
		if part.decimal != total.decimal && (total.whole || total.decimal) {
			return refuse("InvalidUsageAllocationsException", "Allocations must use the same type of quantity (whole "+
				"number or decimal) as the usage quantity.")
		}
		tags, err := readTags(item)
		if err != nil {
			return err
		}
		if seen[tags] {
			return refuse("InvalidUsageAllocationsException", "Usage allocations cannot have identical tag sets.")
		}
		seen[tags] = true
		sum = min(sum+part.value, maxQuantity+1) // more than any quantity; never an overflow
	}
	if sum != total.value && *in.wrong == "" && len(*broken) == 0 {
		return refuse("InvalidUsageAllocationsException", "Sum of allocated usage quantities is not equal to the usage quantity.")
	}
	return nil
}

// readTags checks the tags of an allocation and makes one text of the set, whatever its order.
func readTags(in input) (string, error) {
	if !in.has("Tags") {
		return "", nil
	}
	tags := in.structures("Tags")
	if len(tags) == 0 || len(tags) > maxTags {
		return "", refuse("InvalidTagException", "An allocation must have between 1 and %d tags.", maxTags)
	}
	set := make([]string, 0, len(tags))
	for _, tag := range tags {
		key, value := tag.text("Key"), tag.text("Value")
		if !isTagText(key, 100) || !isTagText(value, 256) {
			return "", refuse("InvalidTagException", "The tag %s=%s is invalid: key (1 to 100 characters) and value (1 to 256) "+
				"must satisfy regular expression pattern: %s", clip(key), clip(value), tagPattern)
		}
		set = append(set, key+"\x00"+value)
	}
	slices.Sort(set)
	return strings.Join(set, "\x01"), nil
}

// isTagText matches tagPattern as it is written: " -=" in it is a range, from space to the equals sign.
func isTagText(s string, longest int) bool {
	if s == "" || len(s) > longest {
		return false
	}
	for _, r := range s {
		inRange := r >= ' ' && r <= '='
		if !inRange && !isAlphanumeric(r) && r != '_' && r != '@' {
			return false
		}
	}
	return true
}
