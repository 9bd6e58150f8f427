package lease

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

// A Lease is a lease that this process acquired. Only [Manager.WithLease] renews it; a caller of
// [Manager.Acquire] renews it with [Lease.Renew]. It is safe for concurrent use.
type Lease struct {
	m      *Manager
	name   name
	holder string
	token  uint64
	ttl    time.Duration

	mu       sync.Mutex
	until    time.Time // on the monotonic clock
	released bool
}

// Token returns the fencing token: pass it as generation to every append. It stays the same as
// long as the lease is held and is greater than that of every earlier holder, and below 2^53.
func (l *Lease) Token() uint64 { return l.token }

// Store returns the store that the lease belongs to.
func (l *Lease) Store() uuid.UUID { return l.name.store }
func (l *Lease) Key() string      { return l.name.key }

// Holder returns the name of the holder in Redis; it is unique to this lease.
func (l *Lease) Holder() string { return l.holder }

// TrustedUntil returns when the holder has to stop, unless the lease is renewed before: two thirds of the ttl after the
// last confirmed request was sent. It is the zero time once [Lease.Release] was called. Compare it with [time.Now] and
// do not store it: it has the monotonic clock of this process.
func (l *Lease) TrustedUntil() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return time.Time{}
	}
	return l.until
}

// confirm extends the trust window after a request that was sent at sent was granted.
func (l *Lease) confirm(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := sent.Add(l.ttl / 3 * 2); until.After(l.until) {
		l.until = until
	}
}

func (l *Lease) isReleased() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.released
}
