package front

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// Limits are those of package server, which documents the fields.
type Limits struct {
	Requests, RequestsPerSubject, RequestsPerIP int
	BodyBytes, BodyBytesPerSubject              int
	BodyPause                                   time.Duration
}

// bodyRate is how many bytes a second a body has to bring after the pause.
const bodyRate = 32 << 10

// patience is how long a body may take after n bytes of it have come, counted from its start. A deadline that every
// byte renewed would let a client that sends byte by byte keep its place for ever.
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

// A budget is of bytes that may be held at once, together and for each subject.
type budget struct {
	limit, perSubject int

	mu       sync.Mutex
	total    int
	subjects map[string]int
	given    chan struct{} // closed when something is given back; nil while no caller waits
}

func newBudget(limit, perSubject int) *budget {
	return &budget{limit: limit, perSubject: perSubject, subjects: map[string]int{}}
}

// take reports whether there is room for n more, which give gives back.
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

// await is take for a caller that can wait for a while.
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
		// The channel is taken before the next try, so what is given back in between is not missed.
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
