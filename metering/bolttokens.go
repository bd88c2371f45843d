package metering

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

// blockBytes is a block as it is stored: its minute in Unix seconds, then its bits.
const blockBytes = 8 + blockTokens/8

func blockKey(id blockID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, id.epoch), id.block)
}

// readBlock reads one block; nil where there is none.
func (t *boltTx) readBlock(id blockID) (*TokenBlock, error) {
	value := t.tokens.Get(blockKey(id))
	if value == nil {
		return nil, nil
	}
	body, err := unsum(value)
	if err == nil && len(body) != blockBytes {
		err = fmt.Errorf("%w: it is %d bytes", ErrCorrupt, len(body))
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens %x: %w", blockKey(id), err)
	}
	b := &TokenBlock{Epoch: id.epoch, First: id.block << blockShift, Minute: keyTime(body)}
	for i := range b.Used {
		b.Used[i] = binary.BigEndian.Uint64(body[8+8*i:])
	}
	return b, nil
}

func (t *boltTx) putBlock(b *TokenBlock) error {
	body := timeKey(make([]byte, 0, blockBytes), b.Minute)
	for _, word := range b.Used {
		body = binary.BigEndian.AppendUint64(body, word)
	}
	return t.tokens.Put(blockKey(blockID{b.Epoch, b.First >> blockShift}), sum(body))
}

// putTokens marks the tokens of deltas as used.
func (t *boltTx) putTokens(deltas []Delta) error {
	blocks, err := blocksOf(deltas, t.readBlock)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if err := t.putBlock(b); err != nil {
			return err
		}
	}
	return nil
}

// eachBlock visits the blocks of used tokens.
func (t *boltTx) eachBlock(visit func(*TokenBlock) error) error {
	return t.tokens.ForEach(func(k, _ []byte) error {
		if len(k) != 16 {
			return fmt.Errorf("%w: key of tokens %x", ErrCorrupt, k)
		}
		b, err := t.readBlock(blockID{binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:])})
		if err != nil {
			return err
		}
		return visit(b)
	})
}

// Tokens reads which tokens are used, and up to when some may be forgotten.
func (b *Bolt) Tokens(ctx context.Context) (blocks []TokenBlock, forgotten time.Time, err error) {
	err = b.view(func(t *boltTx) error {
		if err := t.getMeta(metaForgotten, &forgotten); err != nil {
			return err
		}
		return t.eachBlock(func(block *TokenBlock) error {
			blocks = append(blocks, *block)
			return ctx.Err()
		})
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read used tokens: %w", err)
	}
	return blocks, forgotten, nil
}

// ForgetTokens removes the blocks whose latest minute is before an instant, a part at a time.
func (b *Bolt) ForgetTokens(ctx context.Context, before time.Time) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var old []blockID
		err := b.view(func(t *boltTx) (err error) {
			old, err = t.oldBlocks(before)
			return err
		})
		if more = len(old) == endChunk; err == nil && len(old) > 0 {
			err = b.update(time.Time{}, func(t *boltTx) error { return t.forgetBlocks(old, before) })
		}
		if err != nil {
			return fmt.Errorf("forget tokens from before %s: %w", before.Format(time.RFC3339), err)
		}
	}
	return nil
}

// oldBlocks finds blocks whose latest minute is before an instant, as many as a transaction should remove.
func (t *boltTx) oldBlocks(before time.Time) (old []blockID, err error) {
	err = t.eachBlock(func(b *TokenBlock) error {
		if b.Minute.Before(before) && len(old) < endChunk {
			old = append(old, blockID{b.Epoch, b.First >> blockShift})
		}
		return nil
	})
	return old, err
}

// forgetBlocks removes blocks, unless they were written meanwhile.
func (t *boltTx) forgetBlocks(ids []blockID, before time.Time) error {
	var forgotten time.Time
	if err := t.getMeta(metaForgotten, &forgotten); err != nil {
		return err
	}
	if err := t.putMeta(metaForgotten, latest(forgotten, before)); err != nil {
		return err
	}
	for _, id := range ids {
		b, err := t.readBlock(id)
		if err != nil {
			return err
		}
		if b != nil && b.Minute.Before(before) {
			if err := t.tokens.Delete(blockKey(id)); err != nil {
				return err
			}
		}
	}
	return nil
}
