package streamhub

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/internal/millis"
)

// A LexKey is a key of streamkit: parts whose bytes order as the parts do, with a zero byte between them. In JSON it is
// a string of hexadecimal digits. Programs that migrate from streamkit use such keys as offsets; new programs use a
// [Cursor].
type LexKey []byte

// Encode makes a key of parts: strings and bytes as they are, integers in eight bytes, big-endian, signed ones with the
// sign bit inverted, times as their Unix nanoseconds, UUIDs as their bytes. It panics for parts of other types.
func Encode(parts ...any) LexKey {
	var k LexKey
	for i, part := range parts {
		if i > 0 {
			k = append(k, 0)
		}
		switch v := part.(type) {
		case string:
			k = append(k, v...)
		case []byte:
			k = append(k, v...)
		case LexKey:
			k = append(k, v...)
		case uint64:
			k = binary.BigEndian.AppendUint64(k, v)
		case int64:
			k = binary.BigEndian.AppendUint64(k, uint64(v)^1<<63)
		case int:
			k = binary.BigEndian.AppendUint64(k, uint64(v)^1<<63)
		case time.Time:
			k = binary.BigEndian.AppendUint64(k, uint64(v.UnixNano())^1<<63)
		case uuid.UUID:
			k = append(k, v[:]...)
		default:
			panic(fmt.Sprintf("streamhub: a %T is no part of a key", part))
		}
	}
	return k
}

// MarshalJSON writes the key as hexadecimal digits.
func (k LexKey) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(k)) }

// UnmarshalJSON is the inverse of MarshalJSON; null is the empty key.
func (k *LexKey) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	b, err := hex.DecodeString(text)
	*k = b
	return err
}

// GetSpaceOffset returns the offset of e in its space, in the form of streamkit.
func (e *Entry) GetSpaceOffset() LexKey {
	return Encode("DAT", "SPACES", e.Space, millis.Of(e.Timestamp), e.Segment, e.Sequence)
}

// GetSegmentOffset returns the offset of e in its segment, in the form of streamkit.
func (e *Entry) GetSegmentOffset() LexKey {
	return Encode("DAT", "SEGMENTS", e.Space, e.Segment, e.Sequence)
}
