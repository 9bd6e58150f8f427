package durable

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/query"
)

const (
	cacheWhole   = "max-age=60, stale-while-revalidate=300" // a page that never changes
	cacheTail    = "no-cache"                               // the end of an open stream, where more may follow soon
	cacheLive    = "max-age=20"                             // the answer to a long-poll
	cacheNothing = "no-store"                               // no data
)

// read answers GET.
func (d *Handler) read(w http.ResponseWriter, r *http.Request, s *stream) error {
	values, err := query.Of(r.URL, "offset", "live", "cursor")
	if err != nil {
		return err
	}
	live, err := query.OneOf(values, "live", "long-poll", "sse")
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(values.Get("cursor"), 10, 62); values.Has("cursor") && err != nil {
		return badRequest("cursor=%.64q: want that of %s in an answer", values.Get("cursor"), headerCursor)
	}
	text := beginning
	if values.Has("offset") {
		text = values.Get("offset")
	}
	var from offset
	if text != now {
		if from, err = parseOffset(text); err != nil {
			return err
		}
	}
	q := &reading{handler: d, stream: s, from: from, now: text == now, cursor: values.Get("cursor")}
	switch {
	case live == "":
		return q.catchUp(w, r)
	case !values.Has("offset"):
		return badRequest("a live read needs offset=, where it begins")
	case live == "long-poll":
		return q.longPoll(w, r)
	}
	return q.events(w, r)
}

// A reading is the parsed request of a GET. It belongs to the goroutine of the request.
type reading struct {
	handler *Handler
	stream  *stream
	from    offset
	now     bool // begin at the end
	// cursor is the cursor that the client sent back; see nextCursor.
	cursor string
}

// first reads the page at the requested offset. It renews a sliding time to live, because a stream that is read must
// not expire.
func (q *reading) first(r *http.Request) (*page, streamhub.Status, error) {
	d, s, ctx := q.handler, q.stream, r.Context()
	var p *page
	var status streamhub.Status
	var err error
	if q.now {
		if status, err = s.store.Status(ctx, s.space, s.segment); err == nil {
			p = pageAt(&status, tailOf(&status))
		}
	} else {
		p, status, err = d.fetch(ctx, s, q.from)
	}
	if err == nil && status.TTL > 0 {
		d.renews.touch(ctx, s)
	}
	return p, status, err
}

// catchUp answers with stored entries, without waiting for more.
func (q *reading) catchUp(w http.ResponseWriter, r *http.Request) error {
	p, status, err := q.first(r)
	if err != nil {
		return err
	}
	h := w.Header()
	atEnd := p.end == tailOf(&status)
	q.describe(h, p, &status)
	switch {
	case q.now:
		h.Set("Cache-Control", cacheNothing)
	case atEnd && status.State != streamhub.StateClosed:
		h.Set("Cache-Control", q.handler.ofOne(cacheTail))
	default:
		h.Set("Cache-Control", q.handler.cacheable(cacheWhole))
	}
	if !q.now {
		etag := p.etag(&status)
		h.Set("ETag", etag)
		if matches(r.Header.Get("If-None-Match"), etag) {
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	setNumber(h, "Content-Length", uint64(len(p.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(p.body)
	return nil
}

// describe sets the headers that describe a page.
func (q *reading) describe(h http.Header, p *page, status *streamhub.Status) {
	h.Set("Content-Type", contentType(status))
	h.Set(headerNextOffset, p.end.String())
	if p.end == tailOf(status) {
		h.Set(headerUpToDate, "true")
		if status.State == streamhub.StateClosed {
			h.Set(headerClosed, "true")
		}
	}
}

// cacheable returns the Cache-Control for an answer. Shared caches may keep it only if every client may read the
// stream.
func (d *Handler) cacheable(how string) string {
	if d.opt.Authorize == nil {
		return "public, " + how
	}
	return d.ofOne(how)
}

// ofOne returns the Cache-Control for an answer that differs between clients: if reads need a right, shared caches must
// not keep it.
func (d *Handler) ofOne(how string) string {
	if d.opt.Authorize == nil {
		return how
	}
	return "private, " + how
}

// etag returns the ETag of a page. It covers the incarnation, the proofs, the range, and whether the stream is closed
// after it. So the ETag of a page whose entries were lost matches no later page, at any gateway.
func (p *page) etag(status *streamhub.Status) string {
	end := ""
	if p.end == tailOf(status) {
		end = "."
		if status.State == streamhub.StateClosed {
			end = ".c"
		}
	}
	return fmt.Sprintf(`"%x.%x.%d.%d.%x%s"`, p.incarnation, status.Position.Lineage, p.after, p.end.sequence, p.end.proof, end)
}

// matches reports whether an If-None-Match list contains an ETag.
func matches(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		// If-None-Match compares weakly (RFC 9110, 13.1.2), and a compressing proxy may have made the tag weak.
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == etag || tag == "*" {
			return true
		}
	}
	return false
}
