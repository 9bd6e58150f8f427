package durable

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// An offset is a place in a stream. Its text is two groups of sixteen digits, so that texts of one
// life order as places do.
type offset struct {
	life     uint64 // of the stream, see lifeOf; 0 where the text does not say
	sequence uint64 // of the entry before
}

const (
	digits    = 16
	maxNumber = 9_999_999_999_999_999
	beginning = "-1"
	now       = "now"
)

func (o offset) String() string {
	var b [2*digits + 1]byte
	put := func(b []byte, v uint64) {
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = byte('0' + v%10)
			v /= 10
		}
	}
	put(b[:digits], o.life)
	b[digits] = '_'
	put(b[digits+1:], o.sequence)
	return string(b[:])
}

func parseOffset(text string) (o offset, err error) {
	if text == beginning {
		return o, nil
	}
	life, sequence, ok := strings.Cut(text, "_")
	if !ok || len(life) != digits || len(sequence) != digits || strings.Trim(life+sequence, "0123456789") != "" {
		return o, badRequest("offset %.64q", text)
	}
	o.life, _ = strconv.ParseUint(life, 10, 64)
	o.sequence, _ = strconv.ParseUint(sequence, 10, 64)
	return o, nil
}

// start reports whether o is the beginning of any stream.
func (o offset) start() bool { return o == offset{} }

// lifeOf tells one life of a stream from another. A fork has that of its source.
func lifeOf(status *streamhub.Status) uint64 {
	if o, ok := parseOrigin(status.Origin); ok {
		return o.life
	}
	return 1 + status.Position.Incarnation%(maxNumber-1)
}

func tailOf(status *streamhub.Status) offset { return offset{lifeOf(status), status.LastSequence} }

// at returns the sequence behind which to read, where o is a place in the stream as it is now.
func (o offset) at(status *streamhub.Status) (uint64, error) {
	life := lifeOf(status)
	switch {
	case o.start():
		if status.FirstSequence > 0 {
			return status.FirstSequence - 1, nil
		}
		return 0, nil
	case o.life != life:
		return 0, &statusError{http.StatusGone, "the offset is of another stream, or of a former one at this place"}
	case o.sequence > status.LastSequence:
		return 0, &statusError{http.StatusGone, "the offset is behind the end: what was there is lost"}
	case o.sequence+1 < status.FirstSequence:
		return 0, &goneError{offset{life, status.FirstSequence - 1}}
	}
	return o.sequence, nil
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

// isNotFound reports whether there is no stream, not even one that forks read.
func isNotFound(err error) bool {
	deleted := (*streamhub.DeletedError)(nil)
	held := errors.As(err, &deleted) && deleted.Held
	return errors.Is(err, streamhub.ErrNotFound) && !held
}
