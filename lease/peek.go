package lease

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Held describes a lease that has a holder.
type Held struct {
	Holder string
	Token  uint64
	// Left is what remains of the ttl, by the clock of Redis. 0 means that the next caller of
	// Acquire gets the lease.
	Left time.Duration
}

// Peek returns the holder of the lease on key, or [streamhub.ErrNotFound] if there is none. The holder may
// change at any moment, so use Peek to inform operators; only a token protects a write.
func (m *Manager) Peek(ctx context.Context, store uuid.UUID, key string) (Held, error) {
	n := name{store, key}
	if err := streamhub.CheckName("lease key", key); err != nil {
		return Held{}, n.fail("peek lease", err)
	}
	r, err := m.send(ctx, peekScript, n)
	err = redisx.ReadOutcome(err)
	if err == nil && r.status == "free" {
		err = streamhub.ErrNotFound
	}
	return Held{r.holder, r.token, r.left}, n.fail("peek lease", err)
}
