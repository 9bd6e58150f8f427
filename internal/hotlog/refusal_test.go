package hotlog

import (
	"errors"
	"reflect"
	"testing"

	"github.com/seed-147127fe/streamhub"
)

func TestRefusalOf(t *testing.T) {
	t.Parallel()
	r := &request{expect: 5, generation: 3}
	done := streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "read"}
	for _, c := range []struct {
		code, rest string
		want       error // it, or an error that wraps it
		final      bool
	}{
		{"EXISTS", "", errExists, true},
		{"ABSENT", "", streamhub.ErrNotFound, false},
		{"PARENT", "", streamhub.ErrNotFound, false},
		{"DISAGREE", "", streamhub.ErrCorrupt, false},
		{"CLOSED", `9 {"kind":"done","reason":"read"}`, &streamhub.ClosedError{LastSequence: 9, Verdict: done}, true},
		{"CLOSED", "9", streamhub.ErrCorrupt, true},
		{"CLOSED", `x {"kind":"done"}`, streamhub.ErrCorrupt, true},
		{"CONTENT", "text/plain", streamhub.ErrConflict, true},
		{"STREAMSEQ", "61", streamhub.ErrConflict, true},
		{"FENCED", "4", &streamhub.FencedError{Got: 3, Current: 4}, true},
		{"FENCED", "four", streamhub.ErrCorrupt, true},
		// An attempt under way may still be stored once the entries before it are.
		{"SEQUENCE", "4", &streamhub.SequenceError{Got: 5, Expected: 4}, false},
		{"SEQUENCE", "6", &streamhub.SequenceError{Got: 5, Expected: 6}, true},
		{"SEQUENCE", "", streamhub.ErrCorrupt, false},
		{"GAP", "2 7", &streamhub.ProducerError{Kind: streamhub.ErrProducerGap, Epoch: 2, ExpectedSeq: 7}, false},
		{"EPOCH", "2 7", &streamhub.ProducerError{Kind: streamhub.ErrProducerFenced, Epoch: 2, ExpectedSeq: 8}, true},
		{"OLD", "2 7", &streamhub.ProducerError{Kind: streamhub.ErrUnknownOutcome, Epoch: 2, ExpectedSeq: 8}, true},
		{"MISMATCH", "2 7 1 1 1", &streamhub.ProducerError{Kind: streamhub.ErrBatchMismatch, Epoch: 2, ExpectedSeq: 8}, true},
		{"MISMATCH", "2", streamhub.ErrCorrupt, true},
		{"LAYOUT", "9", streamhub.ErrCorrupt, false},
		{"", "", streamhub.ErrCorrupt, false},
		{"NEWS", "of a later version", streamhub.ErrCorrupt, false},
	} {
		err, final := refusalOf(r, c.code, c.rest)
		if final != c.final || !reflect.DeepEqual(err, c.want) && !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, final %t; want %v, final %t", c.code, c.rest, err, final, c.want, c.final)
		}
	}
}
