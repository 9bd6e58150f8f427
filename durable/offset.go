package durable

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// An offset is a place in a stream. Its text is three groups of sixteen characters, so that texts of
// one life order as places do: the life, the sequence, and the proof of the entry with that sequence.
type offset struct {
	life     uint64 // of the stream, see lifeOf; 0 where the text does not say
	sequence uint64 // of the entry before
	// proof is that of the entry before, 0 at the beginning. After a loss of history another entry
	// may have the sequence, and no reader may go on after it as if it were the one that was read.
	proof uint64
}

const (
	// Sixteen digits hold every sequence, since those end at [streamhub.MaxInteger].
	digits    = 16
	maxNumber = 9_999_999_999_999_999
	// The two offsets that the protocol names: before the first entry, and after the last one.
	beginning = "-1"
	now       = "now"
	// proofLetters write a proof. They are no digits, so that no client counts on with them.
	proofLetters = "abcdefghijklmnop"
)

func (o offset) String() string {
	var b [3*digits + 2]byte
	put := func(b []byte, v uint64) {
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = byte('0' + v%10)
			v /= 10
		}
	}
	put(b[:digits], o.life)
	b[digits] = '_'
	put(b[digits+1:2*digits+1], o.sequence)
	b[2*digits+1] = '_'
	for i := range digits {
		b[len(b)-1-i] = proofLetters[o.proof>>(4*i)&15]
	}
	return string(b[:])
}

// parseOffset reads a text. A text without a proof, as the protocol's own tests write it, is a
// place that no stream has, unless it is the beginning. So is one with a proof that is not ours.
func parseOffset(text string) (o offset, err error) {
	if text == beginning {
		return o, nil
	}
	life, rest, _ := strings.Cut(text, "_")
	sequence, proof, proven := strings.Cut(rest, "_")
	if len(life) != digits || len(sequence) != digits || strings.Trim(life+sequence, "0123456789") != "" || proven && len(proof) != digits {
		return o, badRequest("offset=%.64q is not an offset that a stream gave", text)
	}
	o.life, _ = strconv.ParseUint(life, 10, 64)
	o.sequence, _ = strconv.ParseUint(sequence, 10, 64)
	ours := o.sequence > 0
	for _, c := range []byte(proof) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return o, badRequest("offset=%.64q is not an offset that a stream gave", text)
		}
		v := strings.IndexByte(proofLetters, c)
		ours = ours && v >= 0
		o.proof = o.proof<<4 | uint64(max(v, 0))
	}
	if !ours {
		o.proof = 0
	}
	return o, nil
}

// start reports whether o is the beginning of any stream.
func (o offset) start() bool { return o == offset{} }

// lifeOf tells one life of a stream from another. A fork has that of its source. It is the incarnation, which is
// random, cut to what sixteen digits hold; 0 is left for a text that names none.
func lifeOf(status *streamhub.Status) uint64 {
	if o, ok := parseOrigin(status.Origin); ok {
		return o.life
	}
	return 1 + status.Position.Incarnation%(maxNumber-1)
}

func tailOf(status *streamhub.Status) offset {
	return offsetOf(lifeOf(status), &status.Position)
}

// offsetOf is the offset after the entry at a position of a stream.
func offsetOf(life uint64, p *streamhub.Position) offset {
	if p.Sequence == 0 {
		return offset{life: life}
	}
	return offset{life, p.Sequence, p.Proof}
}

var (
	errOtherLife = &statusError{http.StatusGone, "the offset is of another stream, or of a former one at this path: read the stream from its beginning"}
	errLost      = &statusError{http.StatusGone, "the offset is of a history that was lost: read the stream again from its beginning"}
)

// at returns the sequence after which to read, if o can be an offset of the stream as it is now.
// The status proves that only for the beginning and the end; between them the entry before has to
// be read, see [proven].
func (o offset) at(status *streamhub.Status) (uint64, error) {
	life := lifeOf(status)
	tail, kept := tailOf(status), offsetOf(life, &status.Kept)
	switch {
	// The beginning of any life: reading begins with the first entry that is kept.
	case o.start():
		return kept.sequence, nil
	case o.life != life:
		return 0, errOtherLife
	// The proof in o is that of the source, and the copy has others, so the cases below would take o for lost.
	case o.copied(status):
		if o.sequence < kept.sequence {
			return 0, &goneError{kept}
		}
	// A stream gives no offset after its end. So what the client has read is not there any more.
	case o.sequence > tail.sequence, o.sequence == tail.sequence && o != tail:
		return 0, errLost
	case o.sequence == 0 && kept.sequence == 0:
		return 0, nil
	case o.sequence < kept.sequence:
		return 0, &goneError{kept}
	// The entry before the first one kept is gone, but its proof is still known.
	case o.sequence == kept.sequence && kept.proof != 0 && o != kept:
		return 0, errLost
	}
	return o.sequence, nil
}

// copied reports whether o is where a fork began that copied what it has of its source. The copy came
// to be with the fork, so nothing of it can be lost alone; its entries have other proofs.
func (o offset) copied(status *streamhub.Status) bool {
	origin, ok := parseOrigin(status.Origin)
	return ok && status.Parent == "" && o == origin.offset
}

// proven reports whether an offset is a place in a stream, or was one before entries were trimmed.
// The status is that of the stream.
func (s *stream) proven(ctx context.Context, o offset, status *streamhub.Status) (bool, error) {
	_, err := o.at(status)
	if errors.Is(err, streamhub.ErrTrimmed) {
		return true, nil
	}
	if err != nil || o.sequence == 0 || o == tailOf(status) || o.copied(status) {
		return err == nil, nil
	}
	// A read from a cursor at the offset compares the proof of the entry there. It may give no entry.
	p := status.Position
	p.Sequence, p.Proof = o.sequence, o.proof
	for _, err = range s.store.ConsumeSegment(ctx, s.space, s.segment, &streamhub.ReadOptions{Cursor: p.Cursor(), Limit: 1}) {
		break
	}
	if errors.Is(err, streamhub.ErrHistoryLost) {
		return false, nil
	}
	return err == nil || errors.Is(err, streamhub.ErrTrimmed), skip(err, streamhub.ErrTrimmed)
}

// skip is err, unless it is one that means nothing here.
func skip(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// A goneError says that what was asked for was trimmed, and where reading can begin.
type goneError struct{ first offset }

func (*goneError) Error() string { return "trimmed" }
func (*goneError) Unwrap() error { return streamhub.ErrTrimmed }

// A statusError is an answer that no sentinel stands for.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func conflict(message string) error { return &statusError{http.StatusConflict, message} }

// isNotFound reports whether there is no stream, not even one that forks read. The path of such a one is not free: the
// protocol wants it answered 410, and PUT refused.
func isNotFound(err error) bool {
	deleted := (*streamhub.DeletedError)(nil)
	held := errors.As(err, &deleted) && deleted.Held
	return errors.Is(err, streamhub.ErrNotFound) && !held
}
