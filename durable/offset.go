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

// An offset is a position in a stream. Its text is three groups of sixteen characters: the life, the sequence, and the
// proof of the entry with that sequence. So the texts of one life sort like the positions.
type offset struct {
	life     uint64 // of the stream, see lifeOf; 0 if the text names none
	sequence uint64 // of the entry before the offset
	// proof is the proof of the entry before the offset, 0 at the beginning. After a loss of history another entry may
	// have that sequence. A reader must not continue after it as if it were the entry that was read.
	proof uint64
}

const (
	// Sixteen digits hold every sequence, because a sequence is at most [streamhub.MaxInteger].
	digits    = 16
	maxNumber = 9_999_999_999_999_999
	// The two offsets that the protocol names: before the first entry, and after the last one.
	beginning = "-1"
	now       = "now"
	// proofLetters encode a proof. They are not digits, so that no client does arithmetic with an offset.
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

// parseOffset parses an offset. The tests of the protocol send offsets without a proof. Such an offset, unless it is
// the beginning, and one with an unknown form of proof, parse as a position that no stream has.
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

// lifeOf returns the number of the life of a stream. It is the random incarnation, reduced to sixteen digits, and never
// 0, which means that a text names no life. A fork has the life of its source.
func lifeOf(status *streamhub.Status) uint64 {
	if o, ok := parseOrigin(status.Origin); ok {
		return o.life
	}
	return 1 + status.Position.Incarnation%(maxNumber-1)
}

func tailOf(status *streamhub.Status) offset {
	return offsetOf(lifeOf(status), &status.Position)
}

// offsetOf returns the offset after the entry at a position of a stream.
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

// at returns the sequence after which to read, if o can be an offset of the stream as it is now. The status proves that
// only for the beginning and the end; between them the entry before the offset has to be read, see [proven].
func (o offset) at(status *streamhub.Status) (uint64, error) {
	life := lifeOf(status)
	tail, kept := tailOf(status), offsetOf(life, &status.Kept)
	switch {
	// The beginning belongs to every life: reading begins with the first entry that is kept.
	case o.start():
		return kept.sequence, nil
	case o.life != life:
		return 0, errOtherLife
	// The proof in o is the proof of an entry of the source. The copied entries have other proofs, so the cases below
	// would take o for lost.
	case o.copied(status):
		if o.sequence < kept.sequence {
			return 0, &goneError{kept}
		}
	// A stream never returns an offset after its end, so entries that the client has read are lost.
	case o.sequence > tail.sequence, o.sequence == tail.sequence && o != tail:
		return 0, errLost
	case o.sequence == 0 && kept.sequence == 0:
		return 0, nil
	case o.sequence < kept.sequence:
		return 0, &goneError{kept}
	// The entry before the first kept one is gone, but the status still has its proof.
	case o.sequence == kept.sequence && kept.proof != 0 && o != kept:
		return 0, errLost
	}
	return o.sequence, nil
}

// copied reports whether o is the offset at which a fork with copied entries began. The copies were created together
// with the fork, so they cannot be lost alone; they have other proofs than the entries of the source.
func (o offset) copied(status *streamhub.Status) bool {
	origin, ok := parseOrigin(status.Origin)
	return ok && status.Parent == "" && o == origin.offset
}

// proven reports whether an offset is a position in the stream with this status, or was one before entries were
// trimmed.
func (s *stream) proven(ctx context.Context, o offset, status *streamhub.Status) (bool, error) {
	_, err := o.at(status)
	if errors.Is(err, streamhub.ErrTrimmed) {
		return true, nil
	}
	if err != nil || o.sequence == 0 || o == tailOf(status) || o.copied(status) {
		return err == nil, nil
	}
	// A read from a cursor at the offset compares the proof of the entry before it. The read may return no entry.
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

// skip returns err, or nil if err is harmless here.
func skip(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// A goneError says that the requested entries were trimmed, and where reading can begin.
type goneError struct{ first offset }

func (*goneError) Error() string { return "trimmed" }
func (*goneError) Unwrap() error { return streamhub.ErrTrimmed }

// A statusError is an error response for which there is no sentinel.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func conflict(message string) error { return &statusError{http.StatusConflict, message} }

// isNotFound reports whether there is no stream. A deleted stream that forks still read does not count: the protocol
// requires 410 for its path, and PUT must be refused.
func isNotFound(err error) bool {
	deleted := (*streamhub.DeletedError)(nil)
	held := errors.As(err, &deleted) && deleted.Held
	return errors.Is(err, streamhub.ErrNotFound) && !held
}
