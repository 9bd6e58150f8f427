package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-147127fe/streamhub"
)

// Every object begins with the same header. Integers are big-endian.
//
//	0   "shar"
//	4   version, 1
//	5   kind: 's' chunk of a segment, 't' window
//	6   length of the description, 4 bytes
//	10  length of the body before it was compressed, 4 bytes
//	14  length of the body as it is here, 4 bytes
//	18  description, then the body (zstd), then the SHA-256 of all bytes before it
//
// The description says what the object is and can be read without the body.
const (
	magic         = "shar"
	objectVersion = 1
	objectHeader  = 18
	kindChunk     = 's'
	kindWindow    = 't'

	// maxBody is the largest decompressed body, in bytes; it is larger than the largest frame.
	maxBody = 64 << 20
)

var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // cannot fail: the options are constants
	}
	return e
})

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		panic(err)
	}
	return d
})

func sealObject(kind byte, description, body []byte) ([]byte, error) {
	if len(body) > maxBody {
		return nil, fmt.Errorf("%w: %d bytes for one archived object, the limit is %d", streamhub.ErrTooLarge, len(body), maxBody)
	}
	b := make([]byte, 0, objectHeader+len(description)+len(body)/3+sha256.Size)
	b = append(b, magic...)
	b = append(b, objectVersion, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(description)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, 0, 0, 0, 0)
	b = append(b, description...)
	at := len(b)
	b = encoder().EncodeAll(body, b)
	binary.BigEndian.PutUint32(b[14:], uint32(len(b)-at))
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// openObject checks the header and the checksum, and then decompresses the body.
func openObject(kind byte, b []byte) (description, body []byte, err error) {
	corrupt := func(why string) ([]byte, []byte, error) {
		return nil, nil, fmt.Errorf("%w: an archived object of %d bytes: %s", streamhub.ErrCorrupt, len(b), why)
	}
	if len(b) < objectHeader+sha256.Size || string(b[:4]) != magic {
		return corrupt("it is none, or only the start of one")
	}
	if b[4] != objectVersion {
		return corrupt(fmt.Sprintf("version %d, this program knows %d", b[4], objectVersion))
	}
	sealed, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if want := sha256.Sum256(sealed); !bytes.Equal(want[:], sum) {
		return corrupt("checksum")
	}
	described, raw, packed := binary.BigEndian.Uint32(b[6:]), binary.BigEndian.Uint32(b[10:]), binary.BigEndian.Uint32(b[14:])
	rest := sealed[objectHeader:]
	if b[5] != kind || raw > maxBody || uint64(described)+uint64(packed) != uint64(len(rest)) {
		return corrupt("lengths")
	}
	body, err = decoder().DecodeAll(rest[described:], make([]byte, 0, raw))
	if err != nil || len(body) != int(raw) {
		return corrupt("the body does not unfold")
	}
	return rest[:described:described], body, nil
}
