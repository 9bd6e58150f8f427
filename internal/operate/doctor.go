package operate

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/doctor"
)

const (
	// examinedFor is how long an examination serves every page that is open.
	examinedFor = time.Minute
	// examineCalls is how many calls each latency is measured with, examineCost about how many commands an
	// examination takes for one server.
	examineCalls = 20
	examineCost  = 2*examineCalls + 40
)

// An Examination is what the doctor says of Redis.
type Examination struct {
	At       int64          `json:"at"` // Unix milliseconds
	Checks   []doctor.Check `json:"checks"`
	Commands int            `json:"commands"`
}

// An examination makes one for all that ask within a moment.
type examination struct {
	mu   sync.Mutex // guards what follows, and is held while Redis is asked
	last Examination
	at   time.Time
}

// examine returns what the doctor says, or said a moment ago.
func (e *examination) examine(ctx context.Context, client redis.UniversalClient) Examination {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.at) < examinedFor {
		last := e.last
		last.Commands = 0
		return last
	}
	found := Examination{At: time.Now().UnixMilli(), Checks: []doctor.Check{}, Commands: examineCost}
	for check := range doctor.Examine(ctx, client, doctor.AddressOf(client), examineCalls) {
		found.Checks = append(found.Checks, check)
	}
	if ctx.Err() == nil {
		e.last, e.at = found, time.Now()
	}
	return found
}
