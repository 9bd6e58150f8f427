package durable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
)

// The kinds of subscriptions.
const (
	webhookKind = "webhook"
	pullKind    = "pull-wake"
)

// The bounds and the default of lease_ttl_ms, in milliseconds.
const (
	minLease     = 1000
	maxLease     = 600_000
	defaultLease = 30_000
)

// A subscriptionConfig is what a client asks for.
type subscriptionConfig struct {
	Type        string   `json:"type"`
	Pattern     string   `json:"pattern,omitempty"`
	Streams     []string `json:"streams,omitempty"`
	Webhook     *target  `json:"webhook,omitempty"`
	WakeStream  string   `json:"wake_stream,omitempty"`
	LeaseMS     int64    `json:"lease_ttl_ms"`
	Description string   `json:"description,omitempty"`
}

type target struct {
	URL string `json:"url"`
}

// parseSubscription reads a configuration and gives it the form in which two are compared.
func parseSubscription(text []byte, loopback bool) (c subscriptionConfig, err error) {
	c.LeaseMS = defaultLease
	if !utf8.Valid(text) || json.Unmarshal(text, &c) != nil {
		return c, invalidRequest("the body is no configuration of a subscription")
	}
	c.Pattern, c.WakeStream = trimPath(c.Pattern), trimPath(c.WakeStream)
	for i, path := range c.Streams {
		c.Streams[i] = trimPath(path)
	}
	slices.Sort(c.Streams)
	c.Streams = slices.Compact(c.Streams)
	switch {
	case c.Type != webhookKind && c.Type != pullKind:
		return c, invalidRequest("type is webhook or pull-wake")
	case c.Pattern == "" && len(c.Streams) == 0:
		return c, invalidRequest("pattern or streams is needed")
	case len(c.Streams) > maxExplicit, slices.Contains(c.Streams, ""):
		return c, invalidRequest(fmt.Sprintf("streams has up to %d paths, none of them empty", maxExplicit))
	case len(c.Pattern) > maxPattern, strings.Count(c.Pattern, "*") > maxWildcards:
		return c, invalidRequest(fmt.Sprintf("pattern has up to %d bytes and %d asterisks", maxPattern, maxWildcards))
	case len(c.Description) > maxDescription, len(c.WakeStream) > maxPattern, c.Webhook != nil && len(c.Webhook.URL) > maxURL:
		return c, invalidRequest(fmt.Sprintf("the limits are %d bytes for description, %d for wake_stream, %d for webhook.url", maxDescription, maxPattern, maxURL))
	case c.LeaseMS < minLease || c.LeaseMS > maxLease:
		return c, invalidRequest("lease_ttl_ms is from 1000 to 600000")
	case c.Type == webhookKind && (c.Webhook == nil || c.Webhook.URL == ""):
		return c, invalidRequest("webhook.url is missing")
	case c.Type == pullKind && c.WakeStream == "":
		return c, invalidRequest("wake_stream is missing")
	}
	if c.Type == webhookKind {
		c.WakeStream = ""
		return c, checkTarget(c.Webhook.URL, loopback)
	}
	c.Webhook = nil
	return c, nil
}

const (
	maxExplicit = 1000
	maxPattern  = 1024
	// maxWildcards is far more than a pattern needs.
	maxWildcards   = 32
	maxDescription = 1024
	maxURL         = 2048
)

func trimPath(path string) string { return strings.Trim(path, "/") }

// equal compares two that parseSubscription made: both have one form, so equal ones have equal texts.
func (c *subscriptionConfig) equal(other *subscriptionConfig) bool {
	a, errA := json.Marshal(c)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func (c *subscriptionConfig) lease() time.Duration {
	return time.Duration(c.LeaseMS) * time.Millisecond
}

// matches reports whether the pattern takes in a path. What the subscription itself writes to is
// never among it.
func (c *subscriptionConfig) matches(path string) bool {
	return c.Pattern != "" && path != c.WakeStream && matchPath(strings.Split(c.Pattern, "/"), strings.Split(path, "/"))
}

// matchPath compares element by element: * is any one of them, ** any number. Where elements differ,
// only the last ** so far has to take in one more, so the time is bounded by the product of the
// lengths.
func matchPath(pattern, path []string) bool {
	const none = -1
	p, last, taken := 0, none, 0 // last is the place of the last **, taken where what it takes in ends
	for at := 0; at < len(path); {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			last, taken = p, at
			p++
		case p < len(pattern) && (pattern[p] == "*" || pattern[p] == path[at]):
			p++
			at++
		case last != none:
			taken++
			p, at = last+1, taken
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

// spaces names the spaces in which streams of the subscription can be; all says that there may be
// any.
func (c *subscriptionConfig) spaces() (names []string, all bool) {
	if c.Pattern != "" {
		first, _, nested := strings.Cut(c.Pattern, "/")
		switch {
		case !nested && first != "**":
			names = append(names, defaultSpace)
		case strings.Contains(first, "*"):
			return nil, true
		default:
			names = append(names, first)
			if strings.HasPrefix(c.Pattern, first+"/**") {
				names = append(names, defaultSpace) // the path may end with first
			}
		}
	}
	return names, false
}

// A link is a stream of a subscription and how far it was handled.
type link struct {
	Acked offset `json:"acked"`
	// Lineage is that of the stream when Acked was known to be a place in it. In another one it may
	// have been lost since.
	Lineage  uint64 `json:"lineage,omitempty"`
	Explicit bool   `json:"explicit,omitempty"`

	at uint64 // the entry that sets it
}

func (l *link) kind() string {
	if l != nil && l.Explicit {
		return "explicit"
	}
	return "glob"
}

// A tip is where a stream ends, and the lineage of its last append.
type tip struct {
	offset
	lineage uint64
}

func tipOf(status *streamhub.Status) tip { return tip{tailOf(status), status.Position.Lineage} }

// pending reports whether a stream that ends at t has something that was not handled. A stream that
// ends with another entry than the one that was handled, or before it in another lineage, has lost
// that, and has others since. One that ends before it in the same lineage was looked at earlier.
func (l *link) pending(t tip) bool {
	switch {
	case t.sequence == 0:
		return false
	case l == nil || l.Acked.life != t.life || t.sequence > l.Acked.sequence:
		return true
	}
	return l.Acked != t.offset && (t.sequence == l.Acked.sequence || t.lineage != l.Lineage)
}

// MarshalText makes an offset a string in JSON; -1 is the beginning.
func (o offset) MarshalText() ([]byte, error) {
	if o.start() {
		return []byte(beginning), nil
	}
	return []byte(o.String()), nil
}

// UnmarshalText is the inverse of MarshalText.
func (o *offset) UnmarshalText(text []byte) (err error) {
	*o, err = parseOffset(string(text))
	return err
}

// A subscription is what Redis holds of one, folded. The core is written with every step, of the
// links only those that changed.
type subscription struct {
	core
	links map[string]*link // by path
	size  int              // about what links take in steps
	// sequence is that of the last step, saved the core that it holds.
	sequence uint64
	saved    core
	// entries lists the entries of the register that Redis may still hold, in order.
	entries []written
	// begins says that the next step is the first one of a new incarnation.
	begins bool
	// gone, unless nil, reports whether a stream is deleted. Links to such streams are dropped when they would be written
	// again.
	gone func(path string) bool
}

type core struct {
	Config  subscriptionConfig `json:"config"`
	Root    string             `json:"root"`    // URL under which it was created
	Created int64              `json:"created"` // in Unix milliseconds
	Deleted bool               `json:"deleted,omitempty"`
	// Generation counts wakes, over all lives of the subscription.
	Generation uint64 `json:"generation"`
	// Wake is the id of the one under way, "" for none. Held says that a worker, Holder, has it.
	Wake   string `json:"wake,omitempty"`
	Held   bool   `json:"held,omitempty"`
	Holder string `json:"holder,omitempty"`
	// Streams are the paths that the wake is about.
	Streams []string `json:"streams,omitempty"`
	// Failures counts the deliveries of the wake that failed, Failure says why the last one did and
	// FailedAt when, in Unix milliseconds.
	Failures int    `json:"failures,omitempty"`
	Failure  string `json:"failure,omitempty"`
	FailedAt int64  `json:"failed_at,omitempty"`
}

// idle ends the wake under way.
func (c *core) idle() {
	c.Wake, c.Held, c.Holder, c.Streams = "", false, "", nil
	c.Failures, c.Failure, c.FailedAt = 0, "", 0
}

// rise begins a wake.
func (c *core) rise(streams []string) {
	c.idle()
	c.Generation++
	c.Wake, c.Streams = "wake_"+newSecret(), streams
}

// hold gives the wake to a worker.
func (c *core) hold(by string) { c.Held, c.Holder = true, by }

func (c *core) status() string {
	if c.Failures > 0 {
		return "failed"
	}
	return "active"
}

// linked reports whether a path is one of the subscription's.
func (s *subscription) linked(path string) bool {
	l := s.links[path]
	return l != nil && l.Explicit || s.Config.matches(path)
}
