package hotlog

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// errExists is the answer to a create-only append.
var errExists = errors.New("the segment exists")

// refusalOf returns the error of a request that the append script has refused with code and rest; lua/append.lua lists
// the answers. final says that an earlier attempt was not stored either, and that none still under way can be.
func refusalOf(r *request, code, rest string) (err error, final bool) {
	switch code {
	case "EXISTS":
		return errExists, true
	case "ABSENT", "PARENT":
		return streamhub.ErrNotFound, false
	case "DISAGREE":
		return fmt.Errorf("%w: meta and log of the segment disagree, or one of its keys in Redis has another type: something else writes them, or a restore was partial", streamhub.ErrCorrupt), false
	case "CLOSED":
		return closedError(rest), true
	case "CONTENT":
		return fmt.Errorf("%w: its content type is %q, and the append names another", streamhub.ErrConflict, rest), true
	case "STREAMSEQ":
		return fmt.Errorf("%w: StreamSeq is not greater than that of the last append", streamhub.ErrConflict), true
	case "FENCED":
		e := &streamhub.FencedError{Got: r.generation}
		return readable(e, parseNumbers(rest, &e.Current)), true
	case "SEQUENCE":
		e := &streamhub.SequenceError{Got: r.expect}
		return readable(e, parseNumbers(rest, &e.Expected)), e.Expected > e.Got
	case "GAP": // the row of the producer is missing, or the frame is further than the next one
		return producerError(streamhub.ErrProducerGap, rest, 0), false
	case "EPOCH":
		return producerError(streamhub.ErrProducerFenced, rest, 1), true
	case "OLD": // stored before the append that the row remembers, and where is not known
		return producerError(streamhub.ErrUnknownOutcome, rest, 1), true
	case "MISMATCH":
		return producerError(streamhub.ErrBatchMismatch, rest, 1), true
	}
	err, _ = scriptError(strings.TrimSuffix(code+" "+rest, " "))
	return err, false
}

// readable returns refusal, unless the numbers that it was to carry could not be parsed.
func readable(refusal, parsing error) error {
	if parsing != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrCorrupt, parsing)
	}
	return refusal
}

// closedError reads "<last> <verdict>".
func closedError(rest string) error {
	last, verdict, _ := strings.Cut(rest, " ")
	v, err := parseVerdict(verdict)
	if err != nil {
		return err
	}
	e := &streamhub.ClosedError{Verdict: *v}
	return readable(e, parseNumbers(last, &e.LastSequence))
}

// producerError reads "<epoch> <seq> …"; the next seq is that plus ahead.
func producerError(kind error, rest string, ahead uint64) error {
	e := &streamhub.ProducerError{Kind: kind}
	parsing := parseNumbers(rest, &e.Epoch, &e.ExpectedSeq)
	e.ExpectedSeq += ahead
	return readable(e, parsing)
}
