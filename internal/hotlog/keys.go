package hotlog

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"strconv"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A space is the unit of placement: every key that one append touches has its hash tag. This file
// is the only place where the keys of the log are built.

// A spaceKeys names what belongs to one space.
type spaceKeys struct {
	store  uuid.UUID
	space  string
	prefix string // "sh:{<store>.<space>}:"
}

func keysOf(store uuid.UUID, space string) spaceKeys {
	return spaceKeys{store, space, "sh:{" + store.String() + "." + redisx.Escape(space) + "}:"}
}

// mark returns the hash by which positions in the space name the space.
func (k spaceKeys) mark() uint32 {
	h := fnv.New32a()
	_, _ = h.Write(k.store[:])
	_, _ = h.Write([]byte(k.space))
	return h.Sum32()
}

func (k spaceKeys) timeline() string  { return k.prefix + "t" }
func (k spaceKeys) inventory() string { return k.prefix + "i" }
func (k spaceKeys) deadlines() string { return k.prefix + "d" }
func (k spaceKeys) state() string     { return k.prefix + "v" }

// In the methods below the segment is already escaped.

func (k spaceKeys) meta(segment string) string { return k.prefix + "m:" + segment }

func (k spaceKeys) log(segment string, incarnation uint64) string {
	return k.prefix + "e:" + segment + ":" + hex16(incarnation)
}

func (k spaceKeys) forks(segment string, incarnation uint64) string {
	return k.prefix + "k:" + segment + ":" + hex16(incarnation)
}

// Channels have the names of keys, which scripts have at hand: that of the timeline for a space, that of its meta for a segment.

func (k spaceKeys) channel() string { return k.timeline() }

func (k spaceKeys) segmentChannel(segment string) string { return k.meta(segment) }

const storesKey = "sh:stores"

func spacesKey(store uuid.UUID) string { return "sh:{" + store.String() + "}:spaces" }

func usageKey(store uuid.UUID) string { return "sh:{" + store.String() + "}:q" }

func hex16(v uint64) string { return string(appendHex16(nil, v)) }

func appendHex16(b []byte, v uint64) []byte {
	return hex.AppendEncode(b, binary.BigEndian.AppendUint64(make([]byte, 0, 8), v))
}

func parseHex16(s string) (uint64, error) {
	if len(s) != 16 {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 16, 64)
}

// Key returns a key for the data of another package in a space. It has the hash tag of the space, so that one script
// can use several such keys. Each package uses its own first letter in name.
func Key(store uuid.UUID, space, name string) string { return keysOf(store, space).prefix + name }
