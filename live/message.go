package live

import (
	"encoding/json"
	"time"

	"github.com/seed-147127fe/streamhub/internal/millis"
)

// SendOptions describe a message; nil stands for none.
type SendOptions struct {
	// By names the sender, in at most 256 bytes.
	By string
	// Once names a question that accepts one answer; the name has 1 to [MaxIDLength] bytes. The first message with this
	// name is stored. A different message with the name is refused with [streamhub.ErrConflict]; a repeat of the first
	// one succeeds.
	Once string
	// Key makes a message safe to repeat: messages with one key are stored once, and return the same
	// sequence. It is 16 to 64 letters and digits from crypto/rand. The default is none.
	Key string
}

// A Message is a message from a reader to the producer.
type Message struct {
	Sequence uint64
	// Timestamp is when Redis stored the message, in UTC and whole milliseconds.
	Timestamp time.Time
	// By and Once are as in [SendOptions].
	By, Once string
	// Stop marks a request to stop, whose reason is Data. Only a [RemoteProducer] gets such messages;
	// the [Producer.Context] of a producer ends instead.
	Stop bool
	Data []byte
}

// messageJSON is the JSON form of a message.
type messageJSON struct {
	Sequence  uint64 `json:"sequence"`
	Timestamp int64  `json:"timestamp"` // Unix milliseconds
	By        string `json:"by,omitempty"`
	Once      string `json:"once,omitempty"`
	Stop      bool   `json:"stop,omitempty"`
	Data      []byte `json:"data"`
}

// MarshalJSON writes the fields, the timestamp in Unix milliseconds.
func (m Message) MarshalJSON() ([]byte, error) {
	return json.Marshal(messageJSON{m.Sequence, millis.Of(m.Timestamp), m.By, m.Once, m.Stop, m.Data})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (m *Message) UnmarshalJSON(data []byte) error {
	var v messageJSON
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*m = Message{Sequence: v.Sequence, Timestamp: millis.Time(v.Timestamp), By: v.By, Once: v.Once, Stop: v.Stop, Data: v.Data}
	return nil
}
