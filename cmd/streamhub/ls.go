package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sync/errgroup"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

// statusesAtOnce is how many statuses are requested at the same time.
const statusesAtOnce = 64

// alwaysJSON is for commands that always write JSON, so that every command accepts --json.
type alwaysJSON struct {
	JSON bool `name:"json" help:"Write JSON, as this command always does."`
}

type lsCmd struct {
	target
	Space string `arg:"" optional:"" help:"Space to list; without it the spaces are listed."`
	Long  bool   `short:"l" help:"A table with a line for each: of spaces the number of segments, of segments what status says. It asks for each of them."`
	JSON  bool   `name:"json" help:"One JSON object a line."`
}

// A listed is a line of the list: a space, or a segment.
type listed struct {
	Space    string            `json:"space"`
	Segment  string            `json:"segment,omitempty"`
	Segments *int              `json:"segments,omitempty"` // of a space, with --long
	status   *streamhub.Status // of a segment, with --long
}

// Run writes one name a line, in byte order.
func (c *lsCmd) Run(s *session) error {
	if c.Space != "" {
		if err := streamhub.CheckName("space", c.Space); err != nil {
			return err
		}
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	names := store.Spaces(s.ctx)
	if c.Space != "" {
		names = store.Segments(s.ctx, c.Space)
	}
	out := bufio.NewWriter(s.stdout)
	write := c.writer(out)
	count, err := c.list(s.ctx, store, names, write.line)
	if err == nil {
		err = write.end()
	}
	switch {
	case err != nil && !unread(err):
		return interrupted(s.ctx, err)
	case err == nil && count == 0 && c.Space != "":
		return c.nothing(s, store)
	case err == nil && count == 0:
		s.note("the store has no spaces")
	}
	return errors.Join(err, out.Flush())
}

// nothing returns an error if the space never existed, as opposed to one whose segments are gone.
func (c *lsCmd) nothing(s *session, store *client.Store) error {
	end, err := store.SpaceEnd(s.ctx, c.Space)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	if end == "" {
		s.note("the space %q has no segments, and never had one", c.Space)
	} else {
		s.note("the space %q has no segments any more: all of them were deleted, or have expired", c.Space)
	}
	return nil
}

// list calls visit with each line and returns how many there were.
func (c *lsCmd) list(ctx context.Context, store *client.Store, names iter.Seq2[string, error], visit func(listed) error) (count int, err error) {
	var waiting []listed
	pass := func() error {
		if c.Long {
			if waiting, err = c.describe(ctx, store, waiting); err != nil {
				return err
			}
		}
		for _, l := range waiting {
			count++
			if err := visit(l); err != nil {
				return err
			}
		}
		waiting = waiting[:0]
		return nil
	}
	for name, err := range names {
		if err := context.Cause(ctx); err != nil {
			return count, err
		}
		if err != nil {
			return count, err
		}
		if c.Space == "" {
			waiting = append(waiting, listed{Space: name})
		} else {
			waiting = append(waiting, listed{Space: c.Space, Segment: name})
		}
		if len(waiting) == statusesAtOnce {
			if err := pass(); err != nil {
				return count, err
			}
		}
	}
	return count, pass()
}

// describe adds the details to each line. It leaves out segments that were removed meanwhile.
func (c *lsCmd) describe(ctx context.Context, store *client.Store, lines []listed) ([]listed, error) {
	group, ctx := errgroup.WithContext(ctx)
	for i := range lines {
		l := &lines[i]
		group.Go(func() error {
			if l.Segment != "" {
				status, err := store.Status(ctx, l.Space, l.Segment)
				if err == nil {
					l.status = &status
				} else if errors.Is(err, streamhub.ErrNotFound) {
					err = nil
				}
				return err
			}
			n := 0
			for _, err := range store.Segments(ctx, l.Space) {
				if err != nil {
					return err
				}
				n++
			}
			l.Segments = &n
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	kept := lines[:0]
	for _, l := range lines {
		if l.status != nil || l.Segments != nil {
			kept = append(kept, l)
		}
	}
	return kept, nil
}

// A listWriter writes lines in one of the forms.
type listWriter struct {
	line func(listed) error
	end  func() error
}

func (c *lsCmd) writer(out io.Writer) listWriter {
	nothing := func() error { return nil }
	switch {
	case c.JSON:
		encode := json.NewEncoder(out)
		return listWriter{func(l listed) error {
			if l.status != nil {
				return encode.Encode(l.status)
			}
			return encode.Encode(l)
		}, nothing}
	case !c.Long:
		return listWriter{func(l listed) error {
			_, err := io.WriteString(out, oneLine(firstOf(l.Segment, l.Space))+"\n")
			return err
		}, nothing}
	case c.Space == "":
		t := newTable("space", "segments")
		return listWriter{func(l listed) error {
			t.AppendRow(table.Row{oneLine(l.Space), *l.Segments})
			return nil
		}, func() error { return writeTable(out, t) }}
	}
	t := newTable("segment", "entries", "first", "last", "age", "state", "expires in", "content type")
	now := time.Now()
	return listWriter{func(l listed) error {
		st := l.status
		entries, state, age, expires := uint64(0), string(st.State), "", ""
		if !st.Empty() {
			entries = st.LastSequence - st.FirstSequence + 1
		}
		if st.Verdict != nil {
			state += " (" + string(st.Verdict.Kind) + ")"
		}
		if !st.LastTimestamp.IsZero() {
			age = shortDuration(now.Sub(st.LastTimestamp))
		}
		if !st.ExpiresAt.IsZero() {
			expires = shortDuration(st.ExpiresAt.Sub(now))
		}
		t.AppendRow(table.Row{oneLine(l.Segment), entries, st.FirstSequence, st.LastSequence, age, state, expires, oneLine(st.ContentType)})
		return nil
	}, func() error { return writeTable(out, t) }}
}

// newTable returns a table without lines, with numbers to the right.
func newTable(columns ...string) table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	header := table.Row{}
	for _, name := range columns {
		header = append(header, name)
	}
	t.AppendHeader(header)
	return t
}

// writeTable writes a table, nothing if it has no rows.
func writeTable(w io.Writer, t table.Writer) error {
	if t.Length() == 0 {
		return nil
	}
	_, err := io.WriteString(w, t.Render()+"\n")
	return err
}

// shortDuration writes a time for people, in its two largest units.
func shortDuration(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return strconv.Itoa(int(d/day)) + "d" + strconv.Itoa(int(d%day/time.Hour)) + "h"
}

// oneLine returns name, quoted as in Go if it has control characters, characters that turn the direction of a
// line, or bytes that are not UTF-8.
func oneLine(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Bidi_Control) }) {
		return strconv.Quote(name)
	}
	return name
}
