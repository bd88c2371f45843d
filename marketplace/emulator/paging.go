package emulator

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// Pages: where the one before ended is in the token, so that nothing is kept between them and what comes or goes
// meanwhile neither hides nor repeats anything else.

// hasPages is true of an operation that answers a page and a token for the next.
func hasPages(operation string) bool {
	switch operation {
	case "GetEntitlements", "SearchAgreements", "GetAgreementEntitlements", "GetAgreementTerms", "ListSubscriptions", "ListSubscriptionsByTopic":
		return true
	}
	return false
}

// queryDigest identifies a query, so that a token of another is refused.
func queryDigest(query ...any) string {
	canonical, err := json.Marshal(query) // map keys come out sorted
	if err != nil {
		return ""
	}
	digest := sha256.Sum256(canonical)
	return base64.RawURLEncoding.EncodeToString(digest[:9])
}

// pageToken is a NextToken for what comes after a place. No two are the same, since some clients stop at a token
// that repeats.
func pageToken(digest string, major, minor int64) string {
	text := fmt.Sprintf("%s.%d.%d.%s", digest, major, minor, randomHex(6))
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func readPageToken(digest, token string) (major, minor int64, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.Split(string(text), ".")
	if err != nil || len(parts) != 4 || parts[0] != digest {
		return 0, 0, false
	}
	_, err = fmt.Sscanf(parts[1]+" "+parts[2], "%d %d", &major, &minor)
	return major, minor, err == nil
}
