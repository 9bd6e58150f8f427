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

// A need is one thing that a request must be allowed.
type need struct {
	space string
	write bool
}

func needs(request wire.Request) []need {
	switch r := request.(type) {
	case *wire.Append:
		return []need{{r.Space, true}}
	case *wire.Create:
		return []need{{r.Space, true}}
	case *wire.Delete:
		return []need{{r.Space, true}}
	case *wire.Trim:
		return []need{{r.Space, true}}
	case *wire.Touch:
		return []need{{r.Space, true}}
	case *wire.Status:
		return []need{{r.Space, false}}
	case *wire.Peek:
		return []need{{r.Space, false}}
	case *wire.SpaceEnd:
		return []need{{r.Space, false}}
	case *wire.Segments:
		return []need{{r.Space, false}}
	case *wire.ConsumeSegment:
		return []need{{r.Space, false}}
	case *wire.ConsumeSpace:
		return []need{{r.Space, false}}
	case *wire.Consume:
		all := make([]need, 0, len(r.Cursors))
		for space := range r.Cursors {
			all = append(all, need{space, false})
		}
		return all
	case *wire.Follow:
		return []need{{r.Space, false}}
	case *wire.FollowSpace:
		return []need{{r.Space, false}}
	case *wire.SubscribeSegment:
		return []need{{r.Space, false}}
	case *wire.SubscribeSpace:
		return []need{{r.Space, false}}
	case *wire.Spaces, *wire.Workers:
		return []need{{"", false}}
	default: // also what this list does not know yet
		return []need{{"", true}}
	}
}

// Allowed returns an error unless everything that a request needs is allowed. A nil access allows
// everything. [Run] and [Appends] ask it themselves; a transport that does something for a request
// before it makes the call asks it first.
func Allowed(access Access, store uuid.UUID, request wire.Request) error {
	if access == nil {
		return nil
	}
	for _, n := range needs(request) {
		if !access.Allows(store, n.space, n.write) {
			verb := "read"
			if n.write {
				verb = "write"
			}
			if n.space == "" {
				return fmt.Errorf("%w: to %s store %v", streamhub.ErrPermissionDenied, verb, store)
			}
			return fmt.Errorf("%w: to %s space %q", streamhub.ErrPermissionDenied, verb, n.space)
		}
	}
	return nil
}
