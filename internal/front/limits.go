package front

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// Limits are as in package server, which documents the fields.
type Limits struct {
	Requests, RequestsPerSubject, RequestsPerIP int
	BodyBytes, BodyBytesPerSubject              int
	BodyPause                                   time.Duration
}

// bodyRate is the slowest rate of a body after the pause, in bytes per second.
const bodyRate = 32 << 10

// patience returns how long a body may take, counted from its start, after n bytes have arrived. If every byte renewed
// a deadline instead, a client that sends byte by byte could keep its place for ever.
func (l *Limits) patience(n int) time.Duration {
	return l.BodyPause + time.Duration(n)*time.Second/bodyRate
}

func (l *Limits) withDefaults() Limits {
	if l == nil {
		l = &Limits{}
	}
	return Limits{
		Requests: cmp.Or(l.Requests, 20_000), RequestsPerSubject: cmp.Or(l.RequestsPerSubject, 1000), RequestsPerIP: cmp.Or(l.RequestsPerIP, 1000),
		BodyBytes: cmp.Or(l.BodyBytes, 512<<20), BodyBytesPerSubject: cmp.Or(l.BodyBytesPerSubject, 128<<20),
		BodyPause: cmp.Or(l.BodyPause, 30*time.Second),
	}
}

// A budget limits the bytes that are held at once, in total and for each subject.
type budget struct {
	limit, perSubject int

	mu       sync.Mutex
	total    int
	subjects map[string]int
	given    chan struct{} // closed when bytes are released; nil while no caller waits
}

func newBudget(limit, perSubject int) *budget {
	return &budget{limit: limit, perSubject: perSubject, subjects: map[string]int{}}
}

// take takes n bytes if there is room for them, and reports whether there was. give releases them.
func (b *budget) take(subject string, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit >= 0 && b.total+n > b.limit || subject != "" && b.perSubject >= 0 && b.subjects[subject]+n > b.perSubject {
		return false
	}
	b.total += n
	if subject != "" {
		b.subjects[subject] += n
	}
	return true
}

// await is like take, but waits for room up to patience.
func (b *budget) await(ctx context.Context, subject string, n int, patience time.Duration) bool {
	if b.take(subject, n) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		b.mu.Lock()
		if b.given == nil {
			b.given = make(chan struct{})
		}
		// The channel is read before the next attempt, so that no release in between is missed.
		given := b.given
		b.mu.Unlock()
		if b.take(subject, n) {
			return true
		}
		select {
		case <-given:
		case <-ctx.Done():
			return false
		}
	}
}

func (b *budget) give(subject string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.given != nil && n > 0 {
		close(b.given)
		b.given = nil
	}
	b.total -= n
	if subject != "" {
		if b.subjects[subject] -= n; b.subjects[subject] == 0 {
			delete(b.subjects, subject)
		}
	}
}
