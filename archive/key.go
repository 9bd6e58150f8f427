package archive

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// An attempt number begins with the token of the writer that made it. So a writer can tell the objects of later writers
// from those that it may remove.
//
// Keys contain names in base32 with the extended hex alphabet. It keeps the order of names, and works on backends that
// ignore case. For a name of more than 128 bytes the key has 'Z', which is no digit of that alphabet, and the SHA-256
// of the name; the object has the name itself. So a key stays within the 512 bytes that a backend must take. Numbers
// are 16 hex digits.
//
//	c!<window>!<attempt>                                  a window that was committed
//	t!<window>!<attempt>                                  its part of the timeline
//	s!<segment>!<incarnation>!<range>!<window>!<attempt>  frames; the range is the last and the first
//	                                                      sequence and the times of the first and the last

var nameText = base32.HexEncoding.WithPadding(base32.NoPadding)

// EncodeName encodes a name of any bytes as digits and capital letters. It keeps the byte order of names.
func EncodeName(name string) string { return nameText.EncodeToString([]byte(name)) }

// DecodeName is the inverse of EncodeName.
func DecodeName(text string) (name string, ok bool) {
	b, err := nameText.DecodeString(text)
	return string(b), err == nil && EncodeName(string(b)) == text
}

// Text returns the id in a form that fits into a key: the store, '!' and the encoded name.
func (id SpaceID) Text() string { return id.Store.String() + "!" + EncodeName(id.Space) }

// ParseSpaceID is the inverse of Text.
func ParseSpaceID(text string) (id SpaceID, ok bool) {
	store, name, cut := strings.Cut(text, "!")
	u, err := uuid.Parse(store)
	if err != nil || !cut || u.String() != store {
		return id, false
	}
	name, ok = DecodeName(name)
	return SpaceID{u, name}, ok
}

func hex16(v uint64) string { return fmt.Sprintf("%016x", v) }

func commitPrefix(window uint64) string { return "c!" + hex16(window) + "!" }

func commitKey(window, attempt uint64) string { return commitPrefix(window) + hex16(attempt) }

func windowKey(window, attempt uint64) string { return "t!" + hex16(window) + "!" + hex16(attempt) }

// plainName is the longest name, in bytes, that a key contains in base32 and not as a hash.
const plainName = 128

// segmentText returns the form that the name of a segment has in a key.
func segmentText(segment string) string {
	if len(segment) <= plainName {
		return EncodeName(segment)
	}
	sum := sha256.Sum256([]byte(segment))
	return "Z" + EncodeName(string(sum[:]))
}

// isSegmentText reports whether segmentText may have made text.
func isSegmentText(text string) bool {
	digest, hashed := strings.CutPrefix(text, "Z")
	name, ok := DecodeName(digest)
	return ok && (hashed && len(name) == sha256.Size || !hashed && len(name) <= plainName)
}

// segmentsPrefix returns the prefix of the keys of all chunks of a segment, of any incarnation.
func segmentsPrefix(segment string) string { return "s!" + segmentText(segment) + "!" }

func segmentPrefix(text string, incarnation uint64) string {
	return "s!" + text + "!" + hex16(incarnation) + "!"
}

// A Range describes consecutive frames by their sequences and times.
type Range struct {
	First, Last                   uint64
	FirstTimestamp, LastTimestamp int64 // Unix milliseconds
}

// A chunkName is the decoded key of a chunk.
type chunkName struct {
	segment     string // as [segmentText] returns it
	incarnation uint64
	Range
	window, attempt uint64
}

func (n *chunkName) key() string {
	key := segmentPrefix(n.segment, n.incarnation)
	for i, v := range [...]uint64{n.Last, n.First, uint64(n.FirstTimestamp), uint64(n.LastTimestamp), n.window, n.attempt} {
		if i > 0 {
			key += "!"
		}
		key += hex16(v)
	}
	return key
}

func parseChunkKey(key string) (n chunkName, ok bool) {
	f := strings.Split(key, "!")
	if len(f) != 9 || f[0] != "s" {
		return n, false
	}
	if n.segment = f[1]; !isSegmentText(n.segment) {
		return n, false
	}
	var begins, ends uint64
	for i, into := range []*uint64{&n.incarnation, &n.Last, &n.First, &begins, &ends, &n.window, &n.attempt} {
		if !parseHex(f[2+i], into) {
			return n, false
		}
	}
	n.FirstTimestamp, n.LastTimestamp = int64(begins), int64(ends)
	return n, true
}

// parseWindowKey parses the key of a window, or of the record of its commit.
func parseWindowKey(key string) (window, attempt uint64, ok bool) {
	f := strings.Split(key, "!")
	ok = len(f) == 3 && (f[0] == "t" || f[0] == "c") && parseHex(f[1], &window) && parseHex(f[2], &attempt)
	return window, attempt, ok
}

func parseHex(text string, into *uint64) bool {
	var v uint64
	for _, c := range []byte(text) {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return false
		}
	}
	*into = v
	return len(text) == 16
}
