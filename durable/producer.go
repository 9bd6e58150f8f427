package durable

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// producerOf reads the three headers of an idempotent producer. A request must have all of them or none.
func producerOf(h http.Header) (*streamhub.Producer, error) {
	id, epoch, seq := h.Values(headerProducer), h.Values(headerEpoch), h.Values(headerProducerSeq)
	if len(id)+len(epoch)+len(seq) == 0 {
		return nil, nil
	}
	if len(id) != 1 || len(epoch) != 1 || len(seq) != 1 || id[0] == "" {
		return nil, badRequest("%s, %s and %s go together", headerProducer, headerEpoch, headerProducerSeq)
	}
	p := &streamhub.Producer{ID: id[0]}
	var ok bool
	if p.Epoch, ok = safeInteger(epoch[0]); !ok {
		return nil, badRequest("%s: %.64q is no whole number below 2^53", headerEpoch, epoch[0])
	}
	if p.Seq, ok = safeInteger(seq[0]); !ok {
		return nil, badRequest("%s: %.64q is no whole number below 2^53", headerProducerSeq, seq[0])
	}
	return p, nil
}

// safeInteger parses a decimal up to [streamhub.MaxInteger]: Lua scripts in Redis cannot represent larger integers
// exactly.
func safeInteger(text string) (uint64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	v, err := strconv.ParseUint(text, 10, 64)
	return v, err == nil && v <= streamhub.MaxInteger
}

func setNumber(h http.Header, name string, v uint64) { h.Set(name, strconv.FormatUint(v, 10)) }
