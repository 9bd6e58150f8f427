package dispatch

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// An Access says what the sender of a request may do. Space is "" for what belongs to a store as a
// whole: the list of its spaces, its workers, its leases.
type Access interface {
	Allows(store uuid.UUID, space string, write bool) bool
}

// Allowed returns an error unless everything that a request needs is allowed. A nil access allows
// everything. [Run] and [Appends] ask it themselves; a transport that does something for a request
// before it makes the call asks it first.
func Allowed(access Access, store uuid.UUID, request wire.Request) error {
	if access == nil {
		return nil
	}
	for n := range Rights(request) {
		if !access.Allows(store, n.Space, n.Write) {
			verb := "read"
			if n.Write {
				verb = "write"
			}
			if n.Space == "" {
				return fmt.Errorf("%w: to %s store %v", streamhub.ErrPermissionDenied, verb, store)
			}
			return fmt.Errorf("%w: to %s space %q", streamhub.ErrPermissionDenied, verb, n.Space)
		}
	}
	return nil
}
