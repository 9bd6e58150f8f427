package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/lru"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/sse"
)

const (
	// pageSize is how many names or entries one response has.
	pageSize = 50
	// overviewEvery is how long an overview is reused for all open pages.
	overviewEvery = 2 * time.Second
	// tails is how many pages may follow a segment or a space at the same time.
	tails = 16
	// tailEvery is how often a tail sends new entries, and tailEntries is how many at most.
	tailEvery   = 250 * time.Millisecond
	tailEntries = 25
	// maxShown is how many bytes of a payload are shown.
	maxShown = 64 << 10
)

// A View answers the requests of the console, for every store. Each answer is bounded and says how many commands it
// cost Redis at most.
type View struct {
	hub *hub.Hub
	ctx context.Context // ends the tails

	*lookout
	places chan struct{} // limits the tails

	doctor    examination
	verifying chan struct{} // a semaphore of one for verifications
	mu        sync.Mutex    // guards verified
	verified  *lru.Cache[archive.SpaceID, *Verified]
}

// NewView returns the view of a hub, which stays the caller's. The end of ctx ends the tails.
func NewView(ctx context.Context, h *hub.Hub) *View {
	return &View{
		hub: h, ctx: ctx, lookout: &lookout{hub: h}, places: make(chan struct{}, tails),
		verifying: make(chan struct{}, 1), verified: lru.New[archive.SpaceID, *Verified](keptReports),
	}
}

// A lookout caches the last overview for all requests within overviewEvery.
type lookout struct {
	hub *hub.Hub

	mu       sync.Mutex // guards the fields below, and is held during the commands to Redis
	overview Overview
	at       time.Time
	looks    []RedisSample
}

// keptLooks is how many samples of Redis are remembered: those of a quarter of an hour, at one every five seconds.
const keptLooks = 180

// A RedisSample is the state of Redis at one request for an overview.
type RedisSample struct {
	At       int64   `json:"at"` // Unix milliseconds
	Memory   float64 `json:"used_memory"`
	CPU      float64 `json:"used_cpu"` // CPU seconds since Redis started
	Commands float64 `json:"commands_per_second"`
}

// A History has the first points of the charts of a page: the reports of all instances in the last 15 minutes, and the
// samples of Redis that this process took while a page was open.
type History struct {
	Instances []hub.Sample  `json:"instances"`
	Redis     []RedisSample `json:"redis"`
}

// history returns the remembered samples. It sends no command.
func (v *lookout) history() History {
	v.mu.Lock()
	defer v.mu.Unlock()
	return History{v.hub.History(), slices.Clone(v.looks)}
}

// remember adds the figures of Redis in o to the samples, and drops the oldest beyond keptLooks.
func (v *lookout) remember(o *Overview) {
	number := func(name string) float64 { n, _ := strconv.ParseFloat(o.Redis[name], 64); return n }
	v.looks = append(v.looks, RedisSample{o.At, number("used_memory"), number("used_cpu_user") + number("used_cpu_sys"), number("instantaneous_ops_per_sec")})
	if len(v.looks) > keptLooks {
		v.looks = slices.Delete(v.looks, 0, len(v.looks)-keptLooks)
	}
}

// An Overview is the state of Redis and of the instances.
type Overview struct {
	At        int64             `json:"at"` // Unix milliseconds
	Redis     map[string]string `json:"redis"`
	Findings  []string          `json:"findings"`
	Instances []hub.Instance    `json:"instances"`
	Stores    int               `json:"stores"`
	Commands  int               `json:"commands"`
}

// shownFields are the fields of INFO that the console shows.
var shownFields = []string{
	"redis_version", "valkey_version", "uptime_in_seconds", "role", "connected_slaves", "connected_clients", "blocked_clients", "used_memory",
	"maxmemory", "maxmemory_policy", "mem_fragmentation_ratio", "instantaneous_ops_per_sec", "total_commands_processed",
	"used_cpu_user", "used_cpu_sys", "aof_enabled", "aof_last_write_status", "rdb_last_bgsave_status", "loading", "evicted_keys", "expired_keys",
	"rejected_connections", "cluster_enabled", "master_link_status",
}

// look returns the cached overview if it is fresh, and makes a new one otherwise.
func (v *lookout) look(ctx context.Context) (Overview, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.at) < overviewEvery {
		return v.overview, nil
	}
	info, err := v.hub.RedisInfo(ctx)
	if err != nil {
		return Overview{}, err
	}
	o := Overview{At: time.Now().UnixMilli(), Redis: map[string]string{}, Findings: findings(info), Commands: 3}
	for _, name := range shownFields {
		if value, ok := info[name]; ok {
			o.Redis[name] = value
		}
	}
	if o.Instances, err = v.hub.Instances(ctx); err != nil {
		return Overview{}, err
	}
	stores, err := v.hub.Stores(ctx)
	if err != nil {
		return Overview{}, err
	}
	for _, id := range stores {
		if !auth.Reserved(id) {
			o.Stores++
		}
	}
	v.overview, v.at = o, time.Now()
	v.remember(&o)
	return o, nil
}

// findings returns the problems of a Redis that its INFO shows.
func findings(info map[string]string) []string {
	found := []string{}
	number := func(name string) float64 { n, _ := strconv.ParseFloat(info[name], 64); return n }
	add := func(wrong bool, text string) {
		if wrong {
			found = append(found, text)
		}
	}
	add(info["role"] == "slave", "This server is a replica: appends need the primary.")
	add(info["loading"] == "1", "Redis is still reading its data.")
	add(info["aof_enabled"] == "0", "Redis has no append-only file: a restart loses everything since the last snapshot. Set appendonly yes.")
	add(info["aof_last_write_status"] != "" && info["aof_last_write_status"] != "ok", "The last write to the append-only file failed: look at the disk.")
	add(info["rdb_last_bgsave_status"] != "" && info["rdb_last_bgsave_status"] != "ok", "The last snapshot failed: look at the disk and the memory.")
	policy := info["maxmemory_policy"]
	add(policy != "" && policy != "noeviction", "maxmemory-policy is "+policy+": Redis may remove history. Set noeviction.")
	add(number("evicted_keys") > 0, "Redis has evicted keys: history may be lost.")
	limit := number("maxmemory")
	add(limit > 0 && number("used_memory") > 0.9*limit, "Redis uses more than 90 % of its maxmemory: trim, delete, archive, or raise it.")
	add(number("rejected_connections") > 0, "Redis has refused connections: raise maxclients.")
	add(info["master_link_status"] == "down", "The link to the primary is down.")
	return found
}

// A SegmentRow is a segment in a table of the console.
type SegmentRow struct {
	streamhub.Status
	rowSizes
}

// rowSizes are the fields of a row in addition to the status.
type rowSizes struct {
	// Entries counts the kept entries, Hot those in Redis, and Cold those only in the archive.
	Entries uint64 `json:"entries"`
	Hot     uint64 `json:"hot"`
	Cold    uint64 `json:"cold"`
	// Bytes is an estimate of the memory of the hot entries, from samples that Redis takes; -1 if Redis does not report
	// it.
	Bytes int64 `json:"bytes"`
}

// MarshalJSON writes the fields of the status and of the sizes as one object.
func (r SegmentRow) MarshalJSON() ([]byte, error) {
	status, err := json.Marshal(r.Status)
	if err != nil {
		return nil, err
	}
	sizes, err := json.Marshal(r.rowSizes)
	if err != nil {
		return nil, err
	}
	return append(append(status[:len(status)-1], ','), sizes[1:]...), nil
}

// row makes the row of a segment.
func row(status *streamhub.Status, size port.Size) SegmentRow {
	r := SegmentRow{Status: *status, rowSizes: rowSizes{Bytes: size.Bytes}}
	if status.Empty() {
		return r
	}
	r.Entries = r.LastSequence + 1 - r.FirstSequence
	hot := max(size.First, r.FirstSequence)
	if hot <= r.LastSequence {
		r.Hot = r.LastSequence + 1 - hot
	}
	r.Cold = r.Entries - r.Hot
	return r
}

// A Shown is the JSON form of an entry for the console.
type Shown struct {
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Bytes     int               `json:"bytes"`
	// Text is the payload if it is UTF-8, and Binary otherwise. Cut says that the payload was cut to maxShown.
	Text   *string          `json:"text,omitempty"`
	Binary []byte           `json:"payload,omitempty"`
	Cut    bool             `json:"cut,omitempty"`
	TRX    string           `json:"trx"`
	Cursor streamhub.Cursor `json:"cursor"`
}

func shown(e *streamhub.Entry) Shown {
	s := Shown{
		Space: e.Space, Segment: e.Segment, Sequence: e.Sequence, Timestamp: e.Timestamp.UnixMilli(), Metadata: e.Metadata,
		Bytes: len(e.Payload), TRX: e.TRX.ID.String(), Cursor: e.Cursor(),
	}
	payload := e.Payload
	if len(payload) > maxShown {
		payload, s.Cut = payload[:maxShown], true
		for range utf8.UTFMax - 1 { // back to the end of a complete code point
			if r, n := utf8.DecodeLastRune(payload); r == utf8.RuneError && n == 1 {
				payload = payload[:len(payload)-1]
			}
		}
	}
	if utf8.Valid(payload) {
		text := string(payload)
		s.Text = &text
	} else {
		s.Binary = payload
	}
	return s
}

// A page is one page of a list, with the place at which the next one continues.
type page[T any] struct {
	Items    []T    `json:"items"`
	Next     string `json:"next,omitempty"`
	Commands int    `json:"commands"`
}

// serve answers the requests that only the console sends; handled is false for any other request.
func (v *View) serve(w http.ResponseWriter, r *http.Request, store uuid.UUID, operation string, query url.Values) (handled bool, err error) {
	if r.Method == http.MethodPost && operation == "verify" {
		report, err := v.verify(r.Context(), store, query.Get("space"))
		return true, one(w, report, err)
	}
	if r.Method != http.MethodGet {
		return false, nil
	}
	ctx := r.Context()
	space, segment, after := query.Get("space"), query.Get("segment"), query.Get("after")
	of := port.Of(v.hub.Store(store))
	switch operation {
	case "stores":
		ids, err := v.hub.Stores(ctx)
		p := page[uuid.UUID]{Items: []uuid.UUID{}, Commands: 1}
		for _, id := range ids {
			if !auth.Reserved(id) {
				p.Items = append(p.Items, id)
			}
		}
		return true, one(w, p, err)
	case "spaces":
		names, err := of.SpacesAfter(ctx, after, pageSize)
		p := page[string]{Items: names, Commands: 1}
		if len(names) == pageSize {
			p.Next = names[len(names)-1]
		}
		return true, one(w, p, err)
	case "segments":
		statuses, err := of.StatusesAfter(ctx, space, after, pageSize)
		p := page[SegmentRow]{Items: []SegmentRow{}, Commands: 2 + 4*pageSize}
		names := make([]string, len(statuses))
		for i := range statuses {
			names[i] = statuses[i].Segment
			p.Next = names[i]
		}
		var sizes []port.Size
		if err == nil {
			sizes, err = of.Sizes(ctx, space, names)
		}
		for i := range sizes {
			p.Items = append(p.Items, row(&statuses[i], sizes[i]))
		}
		if len(statuses) < pageSize {
			// Some segments may have been removed meanwhile, so a read of the next page tells whether there are more.
			names, nextErr := of.StatusesAfter(ctx, space, p.Next, 1)
			if err == nil {
				err = nextErr
			}
			if len(names) == 0 {
				p.Next = ""
			}
			p.Commands += 2
		}
		return true, one(w, p, err)
	case "entries":
		p, err := v.entries(ctx, store, space, segment, query.Get("from"))
		return true, one(w, p, err)
	case "history":
		return true, one(w, v.history(), nil)
	case "doctor":
		return true, one(w, v.doctor.examine(ctx, of.Redis()), nil)
	case "archive":
		p, err := v.archived(ctx, store, after)
		return true, one(w, p, err)
	case "tail":
		return true, v.tail(w, r, store, space, segment, query.Get("from"))
	}
	return false, nil
}

// entries reads a page of a segment or a space. from is a cursor or a time in RFC 3339; for a segment it may also be a
// sequence.
func (v *View) entries(ctx context.Context, store uuid.UUID, space, segment, from string) (p page[Shown], err error) {
	p = page[Shown]{Items: []Shown{}, Commands: 2}
	o := &streamhub.ReadOptions{Limit: pageSize}
	if sequence, failed := strconv.ParseUint(from, 10, 53); failed == nil && segment != "" {
		o.FromSequence = max(sequence, 1)
	} else if at, failed := time.Parse(time.RFC3339, from); failed == nil {
		o.After = at.Add(-time.Millisecond) // After is exclusive: entries at that time are included
	} else if o.Cursor, err = cursorOf(from); err != nil {
		return p, err
	}
	read := v.hub.Store(store).ConsumeSegment(ctx, space, segment, o)
	if segment == "" {
		read = v.hub.Store(store).ConsumeSpace(ctx, space, o)
	}
	for e, err := range read {
		if err != nil {
			return p, err
		}
		p.Items = append(p.Items, shown(&e))
		p.Next = string(e.Cursor())
	}
	if len(p.Items) < pageSize {
		p.Next = ""
	}
	return p, nil
}

// cursorOf parses the parameter from, which must be a cursor or empty.
func cursorOf(from string) (streamhub.Cursor, error) {
	cursor := streamhub.Cursor(from)
	if _, err := cursor.Position(); err != nil {
		return "", fmt.Errorf("from=%.100q: %w", from, err)
	}
	return cursor, nil
}

// errTails is the error for more tails than allowed.
var errTails = &streamhub.Error{Op: "tail", Err: streamhub.ErrLimitExceeded}

// tail follows a segment, or a space, as an event stream: four times a second up to tailEntries new entries, and how
// many more there were. A slow reader gets fewer.
func (v *View) tail(w http.ResponseWriter, r *http.Request, store uuid.UUID, space, segment, from string) error {
	after, err := cursorOf(from)
	if err != nil {
		return err
	}
	select {
	case v.places <- struct{}{}:
		defer func() { <-v.places }()
	default:
		return errTails
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(v.ctx, cancel)()
	o := &streamhub.FollowOptions{Cursor: after, Live: from == ""}
	read := v.hub.Store(store).FollowSegment(ctx, space, segment, o)
	if segment == "" {
		read = v.hub.Store(store).FollowSpace(ctx, space, o)
	}
	came := collect(read)
	defer came.wait()
	defer cancel()
	out := sse.Begin(w, 10*time.Second)
	send := func(event string, value any) error {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return out.Send(append(sse.AppendData([]byte("event: "+event+"\n"), text), '\n'))
	}
	if send("open", struct{}{}) != nil {
		return nil
	}
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for quiet, ended := 0, false; !ended; {
		select {
		case <-came.done:
			ended = true
		case <-tick.C:
		}
		items, skipped := came.take()
		if quiet++; len(items) > 0 || quiet > 40 { // after ten quiet seconds
			quiet = 0
			if send("entries", map[string]any{"items": items, "skipped": skipped}) != nil {
				return nil
			}
		}
	}
	var closed *streamhub.ClosedError
	switch {
	case errors.As(came.err, &closed):
		_ = send("end", closed.Verdict)
	case came.err != nil && ctx.Err() == nil:
		_ = send("failed", failureOf(came.err))
	}
	return nil
}

// A collector reads entries as they arrive, and keeps up to tailEntries of them for a reader that may be slow.
type collector struct {
	done chan struct{} // closed when the follower has ended, which sets err first

	mu      sync.Mutex
	items   []Shown
	skipped int
	err     error // read only after done is closed
}

// collect ranges over read in a goroutine, which ends with the context of read.
func collect(read iter.Seq2[streamhub.Entry, error]) *collector {
	c := &collector{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for e, err := range read {
			c.put(&e, err)
		}
	}()
	return c
}

func (c *collector) wait() { <-c.done }

func (c *collector) put(e *streamhub.Entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.err = err
	case len(c.items) < tailEntries:
		c.items = append(c.items, shown(e))
	default:
		c.skipped++
	}
}

// take returns the entries since the last take, and how many others were skipped.
func (c *collector) take() (items []Shown, skipped int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, skipped = c.items, c.skipped
	c.items, c.skipped = nil, 0
	return items, skipped
}
