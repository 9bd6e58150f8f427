package wsgateway

import (
	"encoding/binary"
	"math"

	"github.com/coder/websocket"
)

// appendFrameHeader appends the header of an unmasked frame that holds a whole message of n bytes; see RFC 6455,
// section 5.2. No extension is negotiated, so the reserved bits are 0.
func appendFrameHeader(b []byte, typ websocket.MessageType, n int) []byte {
	// FIN and the opcode: the message types of the library are the opcodes of the RFC. A length of up to 125 is in the
	// second byte; 126 there announces a length of 2 bytes, 127 one of 8 bytes.
	b = append(b, 0x80|byte(typ))
	switch {
	case n < 126:
		return append(b, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
}

// controlBytes has room for the longest control frame of a server: its payload has 125 bytes at most (RFC 6455,
// section 5.5).
const controlBytes = 2 + 125

// isClose reports whether a frame is a close frame.
func isClose(frame []byte) bool { return len(frame) > 0 && frame[0]&0x0f == 8 }
