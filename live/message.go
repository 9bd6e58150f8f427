package live

import (
	"encoding/json"
	"time"

	"github.com/seed-147127fe/streamhub/internal/millis"
)

// SendOptions describe a message; nil stands for none.
type SendOptions struct {
	// By says who sends it.
	By string
	// Once names a question that has one answer, 1 to [MaxIDLength] bytes: the first message that is sent
	// under it is stored, and any other one gets [streamhub.ErrConflict]. The same message sent
	// again counts as stored.
	Once string
	// Key makes a message safe to send again: under one key it is stored once, and the answer is the
	// same. 16 to 64 letters and digits from a good source of random bytes. The default is none.
	Key string
}

// A Message is what a reader has sent to the producer.
type Message struct {
	Sequence uint64
	// Timestamp is when Redis took the message, in UTC and whole milliseconds.
	Timestamp time.Time
	// By and Once are those of [SendOptions].
	By, Once string
	// Stop says that this is a request to stop, with its reason as Data. Only a [RemoteProducer] gets
	// it; a [Producer] is told by its context.
	Stop bool
	Data []byte
}

// messageJSON is a message as JSON.
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
