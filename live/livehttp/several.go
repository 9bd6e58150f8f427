package livehttp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// listDefault is how many streams a list has at most without a limit in the query, and listMost is the largest limit. A
// list ends earlier after listBytes, because the verdict of each stream may have 1 MiB. With active set it also ends
// after listLooks streams, because it reads streams that it does not name.
const listDefault, listMost, listBytes, listLooks = 100, 1000, 4 << 20, 1000

// space answers with the chunks of the streams that the query names or, if it names none, with a list of the streams of
// a space.
func (h *Handler) space(w http.ResponseWriter, r *http.Request, c *call) error {
	if c.query.Has("id") {
		return h.several(w, r, c)
	}
	return h.list(w, r, c)
}

// several answers with the chunks of several streams in one event stream. The id of each event is a cursor of the
// space, so that one Last-Event-ID resumes all of them.
func (h *Handler) several(w http.ResponseWriter, r *http.Request, c *call) error {
	text := c.lastEventID(r, "cursor")
	if strings.HasSuffix(text, ended) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	o := live.FollowOptions{Cursor: streamhub.Cursor(text), Generations: c.flag("generations")}
	if err := checkSeveral(c.query["id"], o.Cursor); err != nil {
		return err
	}
	ctx, done, err := h.reader(r)
	if err != nil {
		return err
	}
	defer done()
	g := &reading{h: h, w: w, raw: c.raw}
	defer g.begin(ctx)()
	pauses := outagePauses()
	for again := true; again; {
		again = false
		for u, err := range c.streams.Follow(ctx, c.query["id"], &o) {
			if err != nil {
				if again = outage(err) && g.stays(ctx, pauses); !again {
					g.severed(ctx, err)
					return nil
				}
				break
			}
			pauses.Reset()
			o.Cursor = u.Cursor
			if text := g.update(&u); text != nil && g.out.Send(text) != nil {
				return nil
			}
		}
	}
	if !g.raw && ctx.Err() == nil {
		_ = g.out.Send(event("complete", string(o.Cursor)+ended, []byte("{}")))
	}
	return nil
}

// checkSeveral makes the checks that need no Redis. They come before the response begins, so that an error can still be
// an HTTP status.
func checkSeveral(ids []string, cursor streamhub.Cursor) error {
	if len(ids) > live.MaxFollowed {
		return fmt.Errorf("%w: %d ids, the limit is %d", streamhub.ErrInvalidArgument, len(ids), live.MaxFollowed)
	}
	for _, id := range ids {
		if err := streamhub.CheckName("live stream", id); err != nil {
			return err
		}
		if len(id) > live.MaxIDLength {
			return fmt.Errorf("%w: the id of a live stream has %d bytes, the limit is %d", streamhub.ErrInvalidName, len(id), live.MaxIDLength)
		}
	}
	at, err := cursor.Position()
	if err == nil && cursor != "" && at.Timeline.IsZero() {
		err = fmt.Errorf("%w: this is the cursor of one stream, and several are resumed with the cursor of an update", streamhub.ErrInvalidCursor)
	}
	return err
}

// severed writes the last event of a read of several streams that cannot continue.
func (g *reading) severed(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case g.raw:
		_ = g.out.Send(fmt.Appendf(nil, ": %s\n\n", streamhub.CodeOf(err)))
	default:
		g.h.tell(g.out, "", 0, err)
	}
}

// An updateEvent is the data of an event about one of several streams: a chunk, as text or, if that is
// not UTF-8, in base64; or how a generation ended.
type updateEvent struct {
	ID         string             `json:"id"`
	Generation uint64             `json:"generation"`
	Sequence   uint64             `json:"sequence,omitempty"`
	Data       *string            `json:"data,omitempty"`
	Binary     []byte             `json:"binary,omitempty"`
	Verdict    *streamhub.Verdict `json:"verdict,omitempty"`
	Code       string             `json:"code,omitempty"`
	Message    string             `json:"message,omitempty"`
}

// update encodes an update as an event. It returns nil for an update that the client does not want.
func (g *reading) update(u *live.Update) []byte {
	e := updateEvent{ID: u.ID, Generation: u.Generation, Sequence: u.Sequence, Verdict: u.Verdict}
	name := ""
	switch {
	case u.Verdict != nil:
		name = "end"
	case u.Err != nil:
		name = "end"
		f := failureOf(streamhub.CodeOf(u.Err), u.Err)
		e.Code, e.Message = f.Code, f.Message
	case utf8.Valid(u.Data):
		text := string(u.Data)
		e.Data = &text
	default:
		e.Binary = u.Data
	}
	if g.raw && name != "" {
		return nil
	}
	data, _ := json.Marshal(&e) // cannot fail: the fields are strings, numbers, and a verdict that was decoded from JSON
	if u.Cursor == "" {
		return eventWithoutID(name, data)
	}
	return event(name, string(u.Cursor), data)
}

// A listing is one page of the streams of a space.
type listing struct {
	Streams []live.Status `json:"streams"`
	// Next is the value of the parameter after for the next page; it is empty on the last page.
	Next string `json:"next,omitempty"`
}

// list answers with a page of the streams of a space, each with its status. A stream that is
// removed between the two reads is left out.
func (h *Handler) list(w http.ResponseWriter, r *http.Request, c *call) error {
	limit := listDefault
	if c.query.Has("limit") {
		text := c.query.Get("limit")
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 || n > listMost {
			return fmt.Errorf("%w: limit=%.40s: want a number from 1 to %d", streamhub.ErrInvalidArgument, text, listMost)
		}
		limit = int(min(n, math.MaxInt))
	}
	o, err := placeOf(c.query.Get("after"))
	if err != nil {
		return err
	}
	page, size, looks := listing{Streams: []live.Status{}}, 0, 0
	for s, err := range c.streams.List(r.Context(), o) {
		if err != nil {
			return err
		}
		status, err := s.Status(r.Context())
		if streamhub.CodeOf(err) == streamhub.CodeOf(streamhub.ErrNotFound) {
			continue // the stream was removed meanwhile
		}
		if err != nil {
			return err
		}
		if !c.flag("active") || status.Verdict == nil {
			page.Streams = append(page.Streams, status)
		}
		size += len(status.Metadata)
		if v := status.Verdict; v != nil {
			size += len(v.Reason) + len(v.Output)
		}
		if looks++; len(page.Streams) == limit || size >= listBytes || looks == listLooks {
			page.Next = strconv.FormatUint(s.Generation(), 36) + "." + base64.RawURLEncoding.EncodeToString([]byte(s.ID()))
			break
		}
	}
	reply(w, http.StatusOK, page)
	return nil
}

// placeOf parses the place at which a list continues, "<generation in base 36>.<id in base64>". An id may contain bytes
// that neither JSON nor a URL can hold.
func placeOf(text string) (*live.ListOptions, error) {
	if text == "" {
		return nil, nil
	}
	head, id, ok := strings.Cut(text, ".")
	generation, err := strconv.ParseUint(head, 36, 63)
	name, unread := base64.RawURLEncoding.DecodeString(id)
	if !ok || err != nil || unread != nil {
		return nil, fmt.Errorf("%w: after=%.200q: want what an answer gave as next", streamhub.ErrInvalidCursor, text)
	}
	return &live.ListOptions{AfterID: string(name), AfterGeneration: generation}, nil
}
