package dispatch

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// An Access says what the sender of a request may do. A connection is one, with the rights of its
// token. It is asked from several goroutines at once, one for each call.
type Access interface {
	Allows(right streamhub.Right) bool
}

// Allowed returns an error unless everything that a request needs is allowed. A nil access allows
// everything. [Run] and [Appends] ask it themselves; a transport that does something for a request
// before it makes the call asks it first.
func Allowed(access Access, store uuid.UUID, request wire.Request) error {
	if access == nil {
		return nil
	}
	for right := range Rights(store, request) {
		if !access.Allows(right) {
			return denied(right)
		}
	}
	return nil
}

// denied names the right that is missing.
func denied(right streamhub.Right) error {
	verb := "read"
	if right.Write {
		verb = "write"
	}
	switch {
	case right.Space == "":
		return fmt.Errorf("%w: the token does not allow to %s the store %v as a whole", streamhub.ErrPermissionDenied, verb, right.Store)
	case right.Segment == "":
		return fmt.Errorf("%w: the token does not allow to %s the space %q as a whole", streamhub.ErrPermissionDenied, verb, right.Space)
	}
	return fmt.Errorf("%w: the token does not allow to %s the segment %q of the space %q", streamhub.ErrPermissionDenied, verb, right.Segment, right.Space)
}
