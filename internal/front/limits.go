package front

import (
	"context"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

// Limits bound the requests over HTTP that are under way and what their bodies hold. 0 stands for the
// default, and a negative value for none. Requests from the loopback count for the process and the
// subject only: they come from a proxy, for many.
type Limits struct {
	// Requests are those of the process, of one subject and of one IP address; the defaults are
	// 20,000, 1,000 and 1,000. An event stream is a request for as long as it lasts.
	Requests, RequestsPerSubject, RequestsPerIP int
	// BodyBytes is what the bodies of requests under way, and the messages of connections of more than
	// 64 KiB, may hold together, of the process and of one subject; the defaults are 512 MiB and 128 MiB.
	BodyBytes, BodyBytesPerSubject int
	// BodyPause is how long a body, or such a message, may take besides a second for each 32 KiB; the
	// default is 30 s.
	BodyPause time.Duration
}

// bodyRate is how many bytes a second a body has to bring after the pause.
const bodyRate = 32 << 10

// patience is how long a body may take after n bytes of it have come, counted from its start. A deadline that every
// byte renewed would let a client that sends byte by byte keep its place for ever.
func (l *Limits) patience(n int) time.Duration {
	return l.BodyPause + time.Duration(n)*time.Second/bodyRate
}

func (l *Limits) withDefaults() Limits {
	var limits Limits
	if l != nil {
		limits = *l
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&limits.Requests, 20_000}, {&limits.RequestsPerSubject, 1000}, {&limits.RequestsPerIP, 1000},
		{&limits.BodyBytes, 512 << 20}, {&limits.BodyBytesPerSubject, 128 << 20},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if limits.BodyPause == 0 {
		limits.BodyPause = 30 * time.Second
	}
	return limits
}

// subjectKey is under which a subject is counted, "" for none.
func subjectKey(p *auth.Principal) string {
	if p == nil || p.Subject == "" {
		return ""
	}
	return p.Issuer + "\x00" + p.Subject
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
