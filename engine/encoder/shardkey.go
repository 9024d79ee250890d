package encoder

import (
	"sync/atomic"

	"distributor/wsproto/shardus"
)

const (
	shardKey = "executionShardKey"
	// maxShardKey is how many bytes the added key may have. A key of the network has 64 digits.
	maxShardKey = 1024
)

// shardKeys counts the receipts that came without executionShardKey. The newest archiver deletes
// that member before it logs a receipt, and the newest collector's table requires it.
type shardKeys struct {
	added, absent atomic.Uint64
	told          atomic.Bool // such receipts are logged once per process
}

// completeReceipt returns the receipt with executionShardKey added, if ADD_EXECUTION_SHARD_KEY is
// set and the receipt contains the key elsewhere. Otherwise it returns the receipt unchanged.
// members must stand before that name.
func (e *Encoder) completeReceipt(c *chunk, receipt []byte, members *shardus.Members) []byte {
	if _, ok := members.Find(shardKey); ok {
		return receipt
	}
	told := e.shardKeys.told.Load()
	var key []byte
	derivable := false
	if e.o.AddShardKey || !told {
		key, derivable = keyOf(*members)
	}
	if e.o.AddShardKey && derivable {
		e.shardKeys.added.Add(1)
		c.completed = members.AppendWith(c.completed[:0], shardKey, key)
		return c.completed
	}
	e.shardKeys.absent.Add(1)
	if told {
		return receipt
	}
	file := c.stream.FileName(c.after.Number)
	switch {
	case derivable && !e.shardKeys.told.Swap(true):
		e.o.Log.Warn("receipts come without executionShardKey: the newest collectors cannot store them; "+
			"to add it before signing, set ADD_EXECUTION_SHARD_KEY to true and restart", "file", file)
	case e.o.AddShardKey && !e.shardKeys.told.Swap(true):
		e.o.Log.Warn("a receipt has no executionShardKey, and signedReceipt has none either: "+
			"it is sent unchanged; further ones are only counted",
			"file", file, "metric", "distributor_receipts_without_shard_key_total")
	}
	return receipt
}

// keyOf returns the key that a receipt's signatures name: the proposal's key, or in a global
// receipt, which has no proposal, the source of its transaction. members must stand before
// signedReceipt, and stays there.
func keyOf(members shardus.Members) (key []byte, ok bool) {
	signed, ok := members.Find("signedReceipt")
	if !ok {
		return nil, false
	}
	part := shardus.MembersOf(signed)
	if proposal, ok := part.Find("proposal"); ok && string(proposal) != "null" {
		of := shardus.MembersOf(proposal)
		key, _ = of.Find(shardKey)
	} else if tx, ok := part.Find("tx"); ok {
		of := shardus.MembersOf(tx)
		key, _ = of.Find("source")
	}
	return key, len(key) > 0 && key[0] == '"' && len(key)-len(`""`) <= maxShardKey
}
