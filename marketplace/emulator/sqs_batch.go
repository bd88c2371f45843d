package emulator

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// batched makes the batch form of an operation: each entry succeeds or fails by itself.
func (e *Emulator) batched(serve func(*queue, input) (object, error)) func(*queue, input) (object, error) {
	return func(q *queue, in input) (object, error) {
		entries := in.structures("Entries")
		if err := checkEntries(entries); err != nil {
			return nil, err
		}
		if err := in.err(); err != nil {
			return nil, err
		}
		successful, failed := []object{}, []object{}
		for _, entry := range entries {
			out, err := serve(q, input{members: entry.members, wrong: new(string)})
			if err != nil {
				failed = append(failed, object{
					"Id": entry.text("Id"), "SenderFault": true, "Code": errorCode(err), "Message": err.Error(),
				})
				continue
			}
			out["Id"] = entry.text("Id")
			successful = append(successful, out)
		}
		out := object{"Successful": successful}
		if len(failed) > 0 {
			out["Failed"] = failed
		}
		return out, nil
	}
}

// checkEntries is nil for a batch that SQS takes.
func checkEntries(entries []input) error {
	if len(entries) == 0 {
		return refuse("EmptyBatchRequest", "There should be at least one entry in the request.")
	}
	if len(entries) > maxBatch {
		return refuse("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent %d.", len(entries))
	}
	size := 0
	ids := map[string]bool{}
	for _, entry := range entries {
		id := entry.text("Id")
		if !isQueueName(id) {
			return refuse("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "+
				"It can be at most 80 letters long.")
		}
		if ids[id] {
			return refuse("BatchEntryIdsNotDistinct", "Id %s repeated.", id)
		}
		ids[id] = true
		body, _ := entry.members["MessageBody"].(string)
		size += len(body)
	}
	if size > maxMessageSize {
		return refuse("BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxMessageSize, size)
	}
	return nil
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// attributesMD5 is SQS's checksum of message attributes: by name, each name, type and value with its length before
// it, and a byte that tells text from binary. Empty without attributes.
func attributesMD5(attributes input) string {
	if len(attributes.members) == 0 {
		return ""
	}
	names := make([]string, 0, len(attributes.members))
	for name := range attributes.members {
		names = append(names, name)
	}
	slices.Sort(names)
	var sum bytes.Buffer
	add := func(b []byte) {
		_ = binary.Write(&sum, binary.BigEndian, uint32(len(b))) // a bytes.Buffer takes everything
		sum.Write(b)
	}
	for _, name := range names {
		attribute := attributes.structure(name)
		add([]byte(name))
		add([]byte(attribute.text("DataType")))
		if attribute.has("BinaryValue") {
			raw, _ := base64.StdEncoding.DecodeString(attribute.text("BinaryValue")) // what is no base64 has no checksum to meet
			sum.WriteByte(2)
			add(raw)
			continue
		}
		sum.WriteByte(1)
		add([]byte(attribute.text("StringValue")))
	}
	return md5Hex(sum.Bytes())
}
