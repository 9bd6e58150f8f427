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

// The kinds of subscriptions, as the field type in JSON names them.
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

// A subscriptionConfig is the configuration that a client sends.
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

// parseSubscription parses a configuration and normalizes it for equal.
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
	// maxWildcards bounds the time to match a pattern; it is far more than a pattern needs.
	maxWildcards   = 32
	maxDescription = 1024
	maxURL         = 2048
)

func trimPath(path string) string { return strings.Trim(path, "/") }

// equal compares two configurations from parseSubscription. They are normalized, so equal ones have the same JSON.
func (c *subscriptionConfig) equal(other *subscriptionConfig) bool {
	a, errA := json.Marshal(c)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func (c *subscriptionConfig) lease() time.Duration {
	return time.Duration(c.LeaseMS) * time.Millisecond
}

// matches reports whether the pattern matches a path. It never matches the wake stream, to which the subscription
// itself appends.
func (c *subscriptionConfig) matches(path string) bool {
	return c.Pattern != "" && path != c.WakeStream && matchPath(strings.Split(c.Pattern, "/"), strings.Split(path, "/"))
}

// matchPath matches element by element: * matches one element, ** any number. After a mismatch only the last ** so far
// is extended by one element. So the time is bounded by the product of the lengths.
func matchPath(pattern, path []string) bool {
	const none = -1
	p, last, taken := 0, none, 0 // last is the index of the last ** in pattern, and taken is where its match in path ends
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

// spaces returns the spaces in which streams of the subscription can be; all means any space.
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
				names = append(names, defaultSpace) // the pattern also matches the path first, which is in the default space
			}
		}
	}
	return names, false
}

// A link is a stream of a subscription, with the offset up to which it was handled.
type link struct {
	Acked offset `json:"acked"`
	// Lineage is the lineage of the stream when Acked was last known to be valid. If the lineage has changed, entries
	// may have been lost since.
	Lineage  uint64 `json:"lineage,omitempty"`
	Explicit bool   `json:"explicit,omitempty"`

	at uint64 // sequence of the entry that sets the link
}

func (l *link) kind() string {
	if l != nil && l.Explicit {
		return "explicit"
	}
	return "glob"
}

// A tip is the end of a stream, with the lineage of its last append.
type tip struct {
	offset
	lineage uint64
}

func tipOf(status *streamhub.Status) tip { return tip{tailOf(status), status.Position.Lineage} }

// pending reports whether a stream that ends at t has unhandled entries. It may be shorter than Acked, or have another
// entry there. In another lineage that means that the handled entries were lost and others have taken their place. In
// the same lineage a shorter t is only older than Acked.
func (l *link) pending(t tip) bool {
	switch {
	case t.sequence == 0:
		return false
	case l == nil || l.Acked.life != t.life || t.sequence > l.Acked.sequence:
		return true
	}
	return l.Acked != t.offset && (t.sequence == l.Acked.sequence || t.lineage != l.Lineage)
}

// MarshalText makes an offset a string in JSON; the beginning is "-1".
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

// A subscription is the state that results from the steps in the register. Every step has the whole core, but only the
// changed links.
type subscription struct {
	core
	links map[string]*link // by path
	size  int              // approximate size of links in steps, in bytes
	// sequence is the sequence of the last step, and saved is the core in that step.
	sequence uint64
	saved    core
	// entries lists the entries of the register that Redis may still hold, in order.
	entries []written
	// begins says that the next step is the first one of a new incarnation.
	begins bool
	// gone, unless nil, reports whether a stream is deleted. Links to deleted streams are dropped instead of being
	// written again.
	gone func(path string) bool
}

type core struct {
	Config  subscriptionConfig `json:"config"`
	Root    string             `json:"root"`    // URL under which it was created
	Created int64              `json:"created"` // Unix milliseconds
	Deleted bool               `json:"deleted,omitempty"`
	// Generation counts wakes, and continues when a subscription is deleted and created again.
	Generation uint64 `json:"generation"`
	// Wake is the id of the wake in flight, "" for none. Held says that the worker Holder has it.
	Wake   string `json:"wake,omitempty"`
	Held   bool   `json:"held,omitempty"`
	Holder string `json:"holder,omitempty"`
	// Streams are the paths that the wake names.
	Streams []string `json:"streams,omitempty"`
	// Failures counts the failed deliveries of the wake. Failure is the error of the last one, and FailedAt its time in
	// Unix milliseconds.
	Failures int    `json:"failures,omitempty"`
	Failure  string `json:"failure,omitempty"`
	FailedAt int64  `json:"failed_at,omitempty"`
}

// idle ends the wake in flight.
func (c *core) idle() {
	c.Wake, c.Held, c.Holder, c.Streams = "", false, "", nil
	c.Failures, c.Failure, c.FailedAt = 0, "", 0
}

// rise begins a wake for streams: a new id and the next generation, held by no worker.
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

// linked reports whether a path was added by name or matches the pattern.
func (s *subscription) linked(path string) bool {
	l := s.links[path]
	return l != nil && l.Explicit || s.Config.matches(path)
}
