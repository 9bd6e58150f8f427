package auth

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// ErrTooMany is the error for a connection over a limit.
var ErrTooMany = errors.New("too many connections")

// Limits bound connections. 0 stands for the default, and a negative value for none. Connections from a loopback
// address have no limit per IP address, because a proxy opens them for many clients. The /64 network of an IPv6 address
// counts as one address.
type Limits struct {
	// Connections, PerSubject and PerIP limit the open connections of the process, of one subject and of one IP
	// address; the defaults are 10,000, 100 and 200.
	Connections, PerSubject, PerIP int
	// Handshakes and HandshakesPerIP limit the handshakes per second of the process and of one IP address; the defaults
	// are 1,000 and 10.
	Handshakes, HandshakesPerIP float64
}

// A Limiter counts connections. Its memory is bounded by the number of open connections.
type Limiter struct {
	limits Limits

	mu       sync.Mutex
	total    int
	subjects map[string]int
	ips      map[string]*address
	rate     *rate.Limiter
}

// An address is the state of one IP address. A refused address is remembered too, because its rate is the reason for
// the refusal. Addresses without a connection are dropped when there are many; see forget.
type address struct {
	open int
	rate *rate.Limiter
}

// NewLimiter returns a limiter; nil stands for the defaults.
func NewLimiter(l *Limits) *Limiter {
	if l == nil {
		l = &Limits{}
	}
	limits := Limits{
		Connections: cmp.Or(l.Connections, 10_000), PerSubject: cmp.Or(l.PerSubject, 100), PerIP: cmp.Or(l.PerIP, 200),
		Handshakes:      cmp.Or(l.Handshakes, 1000), // after the loss of another gateway as many readers reconnect at once
		HandshakesPerIP: cmp.Or(l.HandshakesPerIP, 10),
	}
	return &Limiter{limits: limits, subjects: map[string]int{}, ips: map[string]*address{}, rate: newRate(limits.Handshakes)}
}

// burst is how many seconds' worth of handshakes may come at once.
const burst = 10

func newRate(perSecond float64) *rate.Limiter {
	if perSecond < 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond*burst)))
}

// Acquire counts a connection of p, which may be nil, until release is called; further calls of release do nothing. It
// returns [ErrTooMany] over a limit.
func (l *Limiter) Acquire(r *http.Request, p *Principal) (release func(), err error) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr // the server is not one of net/http
	}
	local := isLoopback(ip)
	ip = place(ip)
	subject := p.CountedAs()
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.ips[ip]
	if a == nil {
		l.forget()
		a = &address{rate: newRate(l.limits.HandshakesPerIP)}
		l.ips[ip] = a
	}
	// The rate of the address comes first: handshakes that it refuses take nothing from the rate of the process.
	if !local && (!a.rate.Allow() || !l.rate.Allow() || exceeds(a.open, l.limits.PerIP)) ||
		exceeds(l.total, l.limits.Connections) || subject != "" && exceeds(l.subjects[subject], l.limits.PerSubject) {
		return nil, ErrTooMany
	}
	l.total++
	a.open++
	l.enter(subject)
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		a.open--
		l.leave(subject)
	}), nil
}

// place returns the text that counts as one address. For IPv6 that is the /64 network, because a client can choose any
// address in it.
func place(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	if a = a.WithZone("").Unmap(); a.Is4() {
		return a.String()
	}
	return netip.PrefixFrom(a, 64).Masked().String()
}

// Open returns how many connections were acquired and not released.
func (l *Limiter) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// AcquireSubject counts a connection for the subject of p that was acquired before its subject was known. The results
// are as for Acquire.
func (l *Limiter) AcquireSubject(p *Principal) (release func(), err error) {
	subject := p.CountedAs()
	if subject == "" {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if exceeds(l.subjects[subject], l.limits.PerSubject) {
		return nil, ErrTooMany
	}
	l.enter(subject)
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.leave(subject)
	}), nil
}

func exceeds(n, limit int) bool { return limit >= 0 && n >= limit }

// enter and leave change the count of a subject. The lock is held.
func (l *Limiter) enter(subject string) {
	if subject != "" {
		l.subjects[subject]++
	}
}

func (l *Limiter) leave(subject string) {
	if subject == "" {
		return
	}
	if l.subjects[subject]--; l.subjects[subject] == 0 {
		delete(l.subjects, subject)
	}
}

// maxAddresses is how many addresses without a connection are remembered.
const maxAddresses = 10_000

// forget drops addresses without a connection when there are at least maxAddresses of them. So each pass over the map
// frees at least that many. The rates of dropped addresses start again. The lock is held.
func (l *Limiter) forget() {
	if len(l.ips) < l.total+maxAddresses {
		return
	}
	for ip, a := range l.ips {
		if a.open == 0 {
			delete(l.ips, ip)
		}
	}
}
