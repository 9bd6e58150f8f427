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

// ErrTooMany is for a connection over a limit.
var ErrTooMany = errors.New("too many connections")

// Limits bound connections. 0 stands for the default, and a negative value for none. Connections
// from the loopback count for the process and the subject only: they come from a proxy, for many. Of an IPv6
// address the network of 64 bits counts.
type Limits struct {
	// Connections are those of the process, of one subject and of one IP address; the defaults are
	// 10,000, 100 and 200.
	Connections, PerSubject, PerIP int
	// Handshakes are those a second, of the process and of one IP address; 1,000 and 10.
	Handshakes, HandshakesPerIP float64
}

// A Limiter counts connections. Its memory grows with the connections that are open only.
type Limiter struct {
	limits Limits

	mu       sync.Mutex
	total    int
	subjects map[string]int
	ips      map[string]*address
	rate     *rate.Limiter
}

// An address is one IP address. One that is refused stays as well, since its rate is what refuses it. Those without a
// connection are forgotten once there are many; see forget.
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
		Handshakes:      cmp.Or(l.Handshakes, 1000), // as many readers as there may be are back at once when they lose another gateway
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

// Acquire counts a connection of p, who may be nil, until release is called; further calls of release
// do nothing. It returns [ErrTooMany] over a limit.
func (l *Limiter) Acquire(r *http.Request, p *Principal) (release func(), err error) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		ip = r.RemoteAddr // a server that is none of net/http's
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

// place is what counts as one address: of IPv6 the network of 64 bits, in which a client chooses the rest.
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

// Open returns how many were let in and are not released.
func (l *Limiter) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// AcquireSubject counts for p as well what was acquired before its subject was known. The
// rest is as with Acquire.
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

// enter and leave count for a subject. The lock is held.
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

// forget drops addresses that have no connection, once there are many. At least maxAddresses of them have none then,
// so one pass over the map makes room for as many. Their rates begin again. The lock is held.
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
