package operate

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/doctor"
)

const (
	// examinedFor is how long the result of an examination is reused for all open pages.
	examinedFor = time.Minute
	// examineCalls is how many calls measure each latency. examineCost is the approximate number of commands of an
	// examination for one server.
	examineCalls = 20
	examineCost  = 2*examineCalls + 40
)

// An Examination is the report of the doctor about Redis.
type Examination struct {
	At       int64          `json:"at"` // Unix milliseconds
	Checks   []doctor.Check `json:"checks"`
	Commands int            `json:"commands"`
}

// An examination caches the last report for all requests within examinedFor.
type examination struct {
	mu   sync.Mutex // guards the fields below, and is held during the commands to Redis
	last Examination
	at   time.Time
}

// examine returns a new report of the doctor, or the cached one.
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
