package dispatch

import (
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// An Access says what the sender of a request may do. A connection implements it with the rights of its token. Several
// goroutines call it at once, one for each call.
type Access interface {
	Allows(right streamhub.Right) bool
}

// Allowed returns an error unless everything that a request needs is allowed. A nil access allows everything. [Run] and
// [Appends] call it themselves. A transport that acts on a request before that must call it first.
func Allowed(access Access, store uuid.UUID, request wire.Request) error {
	if access == nil {
		return nil
	}
	for right := range Rights(store, request) {
		if !access.Allows(right) {
			return auth.Denied(right)
		}
	}
	return nil
}
