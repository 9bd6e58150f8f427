package client

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// An append whose TRX id its caller chose may be repeated after it was answered, as with a hub in process. By then
// later appends have used its slot, so the provider remembers the answer.

const (
	maxKept = 64 // per segment
	keptFor = 10 * time.Minute
)

// A kept is the remembered result of an append.
type kept struct {
	trx uuid.UUID
	// sum is a checksum of the records: it tells a repeat from another append under the same id.
	sum     uint32
	result  streamhub.AppendResult
	asked   streamhub.Durability
	reached bool // the durability that it asked for was reached
	until   time.Time
}

// keep remembers the answer to an append whose TRX id the caller chose.
func (t *tail) keep(a *wire.Append, r streamhub.AppendResult, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) >= maxKept {
		t.kept = slices.Delete(t.kept, 0, 1+len(t.kept)-maxKept)
	}
	t.kept = append(t.kept, kept{
		trx: a.Options.TRX, sum: sum(a.Records), result: r, asked: value(a.Options.Durability), reached: err == nil,
		until: time.Now().Add(keptFor),
	})
}

// repeats returns the remembered answer if a repeats an append that was answered. ok is false otherwise.
func (t *tail) repeats(a *wire.Append) (r streamhub.AppendResult, err error, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.kept, func(k kept) bool { return k.trx == a.Options.TRX && time.Now().Before(k.until) })
	if i < 0 {
		return r, nil, false
	}
	k := &t.kept[i]
	if k.sum != sum(a.Records) {
		return r, fmt.Errorf("%w: TRX %s: a repeat has the same records, another append needs another id", streamhub.ErrBatchMismatch, k.trx), true
	}
	r = k.result
	r.Repeated = true
	if asked := value(a.Options.Durability); asked != (streamhub.Durability{}) && (asked != k.asked || !k.reached) {
		err = fmt.Errorf("%w: the append is stored, and a repeat through a gateway cannot ask for more", streamhub.ErrNotConfirmed)
	}
	return r, err, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum returns a checksum of records.
func sum(records []streamhub.Record) (sum uint32) {
	// Each string is preceded by its length, and an empty string ends a record. Otherwise records that split the same
	// bytes differently would have the same sum.
	add := func(s string) {
		sum = crc32.Update(sum, castagnoli, binary.AppendUvarint(nil, uint64(len(s))))
		sum = crc32.Update(sum, castagnoli, []byte(s))
	}
	for i := range records {
		add(string(records[i].Payload))
		for _, k := range slices.Sorted(maps.Keys(records[i].Metadata)) {
			add(k)
			add(records[i].Metadata[k])
		}
		add("")
	}
	return sum
}
