package follow

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A key names a followed segment, or a followed space if the segment is empty.
type key struct {
	store          uuid.UUID
	space, segment string
}

func (k key) channel() string {
	if k.segment == "" {
		return hotlog.SpaceChannel(k.store, k.space)
	}
	return hotlog.SegmentChannel(k.store, k.space, k.segment)
}

// inSpace returns the key of the space of k.
func (k key) inSpace() key { return key{k.store, k.space, ""} }

func (k key) check(segment bool) error {
	if err := streamhub.CheckName("space", k.space); err != nil || !segment {
		return err
	}
	return streamhub.CheckName("segment", k.segment)
}

// fail makes the error of a call about k. The error of a context is returned unchanged.
func (k key) fail(op string, err error) error {
	return fault.Outer(streamhub.Error{Op: op, Store: k.store, Space: k.space, Segment: k.segment}, err)
}

// passing reports whether a retry can help. A shared read may have failed because the context of another caller ended.
func passing(err error) bool {
	return streamhub.Retryable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// away reports whether Redis does not serve this process, even if the reason is permanent. A follower that has begun
// waits all the same: an operator may restore a right that was revoked by mistake.
func away(err error) bool { return errors.Is(err, streamhub.ErrUnavailable) }

// denied reports whether Redis refuses this user.
func denied(err error) bool {
	var u *streamhub.UnavailableError
	return errors.As(err, &u) && u.Reason == streamhub.ReasonDenied
}
