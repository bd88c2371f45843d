package metering

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/weirhq/weir/policy"
)

// The layout of a token: version, kind, tally, epoch, number, minute, terms, turn, quantity,
// need, and an HMAC-SHA256 cut to 128 bits over these and the route's name. In
// base64url it is 94 characters.
const (
	tokenVersion = 1
	tokenBody    = 1 + 1 + 8 + 8 + 8 + 4 + 4 + 4 + 8 + 8
	tokenMAC     = 16
	tokenSize    = tokenBody + tokenMAC
	tokenText    = (tokenSize*8 + 5) / 6
)

// notary makes tokens and knows its own again.
type notary struct {
	text   *base64.Encoding
	stamps [16]stamp // spread over locks by what is random in a token
}

// stamp is what making one token needs, kept so that it costs no allocation.
type stamp struct {
	sync.Mutex
	mac   hash.Hash
	bytes [tokenSize]byte
	sum   []byte
	route []byte
}

func newNotary(key TokenKey) *notary {
	n := &notary{text: base64.RawURLEncoding.Strict()}
	for i := range n.stamps {
		n.stamps[i].mac = hmac.New(sha256.New, key[:])
	}
	return n
}

// sign computes the MAC of the body and the route's name; it is good until the next call.
func (s *stamp) sign(route string) []byte {
	s.mac.Reset()
	s.mac.Write(s.bytes[:tokenBody])
	s.route = append(s.route[:0], route...)
	s.mac.Write(s.route)
	s.sum = s.mac.Sum(s.sum[:0])
	return s.sum[:tokenMAC]
}

// append appends the token of a receipt.
func (n *notary) append(dst []byte, r *policy.Receipt, route string) []byte {
	s := &n.stamps[r.Number>>58%uint64(len(n.stamps))]
	s.Lock()
	defer s.Unlock()
	body := append(s.bytes[:0], tokenVersion, byte(r.Kind))
	for _, v := range [...]uint64{r.Tally, r.Epoch, r.Number} {
		body = binary.BigEndian.AppendUint64(body, v)
	}
	for _, v := range [...]uint32{uint32(r.Minute), r.Terms, r.Turn} {
		body = binary.BigEndian.AppendUint32(body, v)
	}
	body = binary.BigEndian.AppendUint64(body, uint64(r.Quantity))
	binary.BigEndian.AppendUint64(body, uint64(r.Need))
	copy(s.bytes[tokenBody:], s.sign(route))
	return n.text.AppendEncode(dst, s.bytes[:])
}

// read is the receipt of a token that was made for the route; false for any other text.
func (n *notary) read(token, route string) (r policy.Receipt, ok bool) {
	if len(token) != tokenText {
		return r, false
	}
	var text [tokenText]byte
	copy(text[:], token)
	s := &n.stamps[int(token[tokenText-2])%len(n.stamps)]
	s.Lock()
	defer s.Unlock()
	if _, err := n.text.Decode(s.bytes[:], text[:]); err != nil {
		return r, false
	}
	if subtle.ConstantTimeCompare(s.sign(route), s.bytes[tokenBody:]) == 0 || s.bytes[0] != tokenVersion {
		return r, false
	}
	word := func(at int) uint64 { return binary.BigEndian.Uint64(s.bytes[at:]) }
	half := func(at int) uint32 { return binary.BigEndian.Uint32(s.bytes[at:]) }
	return policy.Receipt{
		Kind: policy.ReceiptKind(s.bytes[1]), Tally: word(2), Epoch: word(10), Number: word(18),
		Minute: int64(half(26)), Terms: half(30), Turn: half(34), Quantity: int64(word(38)), Need: int64(word(46)),
	}, true
}

// AppendToken appends the token that ties an access log entry to the check with this
// receipt: unguessable, not to be forged, and good for the entries of this route only
// (BILLING B04). Of a zero receipt there is none.
func (m *Meter) AppendToken(dst []byte, r *policy.Receipt, route string) []byte {
	if r.Kind == policy.NoReceipt {
		return dst
	}
	return m.notary.append(dst, r, route)
}
