package live

// SendOptions describe a message; nil stands for none.
type SendOptions struct {
	// By says who sends it.
	By string
	// Once names a question that has one answer, 1 to 100 bytes: the first message that is sent
	// under it is stored, and any other one gets [streamhub.ErrConflict]. The same message sent
	// again counts as stored.
	Once string
}

// A Message is what a reader has sent to the producer.
type Message struct {
	Sequence  uint64 `json:"sequence"`
	Timestamp int64  `json:"timestamp"` // Unix milliseconds
	By        string `json:"by,omitempty"`
	Once      string `json:"once,omitempty"`
	// Stop says that this is a request to stop, with its reason as Data. Only a [RemoteProducer] gets
	// it; a [Producer] is told by its context.
	Stop bool   `json:"stop,omitempty"`
	Data []byte `json:"data"`
}
