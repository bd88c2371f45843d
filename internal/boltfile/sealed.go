package boltfile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// Values are sealed with a sum of themselves and their key, and a key of another bucket holds the sum of all
// these, so that a value that is wrong, or missing, is noticed when the file is read.

// SumLength is the length of a sum, in bytes: against damage, not against an enemy.
const SumLength = 8

// Seal puts the sum of a key and its value before the value.
func Seal(key, value []byte) []byte { return append(sumOf(key, value), value...) }

// Unseal takes the sum off again; false when it is wrong.
func Unseal(key, sealed []byte) (value []byte, ok bool) {
	if len(sealed) < SumLength {
		return nil, false
	}
	value = sealed[SumLength:]
	return value, string(sumOf(key, value)) == string(sealed[:SumLength])
}

func sumOf(key, value []byte) []byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	h.Write(key)
	h.Write(value)
	return h.Sum(nil)[:SumLength]
}

// Put seals a value into a bucket, or takes it out where it is nil, and returns the sum of all that the bucket
// then holds; sum is that of before.
func Put(in *bbolt.Bucket, sum, key, value []byte) ([]byte, error) {
	all := binary.BigEndian.Uint64(sum)
	if before := in.Get(key); before != nil {
		all ^= binary.BigEndian.Uint64(before)
	}
	if value == nil {
		return binary.BigEndian.AppendUint64(nil, all), in.Delete(key)
	}
	sealed := Seal(key, value)
	all ^= binary.BigEndian.Uint64(sealed)
	return binary.BigEndian.AppendUint64(nil, all), in.Put(key, sealed)
}

// Each gives every value of a bucket, and [ErrDamaged] if one is wrong or missing by the sum of all.
func Each(in *bbolt.Bucket, sum []byte, give func(key, value []byte) error) error {
	var all uint64
	err := in.ForEach(func(key, sealed []byte) error {
		value, ok := Unseal(key, sealed)
		if !ok {
			return fmt.Errorf("%w: %q is not as it was written", ErrDamaged, key)
		}
		all ^= binary.BigEndian.Uint64(sealed)
		return give(key, value)
	})
	if err == nil && (len(sum) != SumLength || binary.BigEndian.Uint64(sum) != all) {
		err = fmt.Errorf("%w: a value is missing, or of another time", ErrDamaged)
	}
	return err
}
