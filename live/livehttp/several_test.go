package livehttp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/live"
)

type update struct {
	ID, Data, Binary string
	Sequence         uint64
	Generation       uint64
	Verdict          *struct{ Kind string }
}

func (r *reader) update() (e event, u update) {
	r.t.Helper()
	e, ok := r.next()
	require.True(r.t, ok)
	require.NoError(r.t, json.Unmarshal([]byte(e.data), &u))
	return e, u
}

// TestSeveral reads three streams on one connection, resumes on another gateway, and hears each end.
func TestSeveral(t *testing.T) {
	t.Parallel()
	a := start(t, "", nil)
	b := start(t, a.hub.RedisURL(), nil)
	p, q := a.produce("p", nil), a.produce("q/1", nil)
	a.publish(p, "p1")
	a.publish(q, "q1", "\xff")
	const path = "/v1/live?id=p&id=q%2F1&id=r"
	r := a.events(path)
	var cursor string
	for _, want := range []string{"p 1 p1 ", "q/1 1 q1 ", "q/1 2  /w=="} {
		e, u := r.update()
		require.Equal(t, want, fmt.Sprint(u.ID, " ", u.Sequence, " ", u.Data, " ", u.Binary))
		require.NotEmpty(t, u.Generation)
		require.Empty(t, e.name)
		cursor = e.id
	}
	a.publish(p, "p2")
	late := a.produce("r", nil)
	a.publish(late, "r1")
	second := b.events(path, "Last-Event-ID", cursor)
	for _, r := range []*reader{r, second} {
		for _, want := range []string{"p2", "r1"} {
			_, u := r.update()
			require.Equal(t, want, u.Data)
		}
	}
	require.NoError(t, p.Done(t.Context(), nil))
	require.NoError(t, q.Fail(t.Context(), errors.New("broken")))
	require.NoError(t, late.Done(t.Context(), nil))
	for _, r := range []*reader{r, second} {
		ends := map[string]string{}
		for range 3 {
			e, u := r.update()
			require.Equal(t, "end", e.name)
			ends[u.ID] = u.Verdict.Kind
		}
		require.Equal(t, map[string]string{"p": "done", "q/1": "failed", "r": "done"}, ends)
		e, ok := r.next()
		require.True(t, ok)
		require.Equal(t, "complete", e.name)
		a.must(http.StatusNoContent, http.MethodGet, path, "", "Last-Event-ID", e.id)
		_, ok = r.next()
		require.False(t, ok)
	}
}

func TestSeveralGenerations(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	for _, text := range []string{"1", "2"} {
		p := g.produce("s", nil)
		g.publish(p, text)
		require.NoError(t, p.Done(t.Context(), nil))
	}
	r := g.events("/v1/live?id=s&generations=1")
	var texts []string
	ends := 0
	for ends < 2 {
		e, u := r.update()
		if e.name == "end" {
			ends++
			continue
		}
		texts = append(texts, u.Data)
	}
	require.Equal(t, []string{"1", "2"}, texts)
	g.publish(g.produce("s", nil), "3")
	_, u := r.update()
	require.Equal(t, "3", u.Data)
}

// TestSeveralRefused names what is wrong, as a status or, to an EventSource, as an event.
func TestSeveralRefused(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	many := strings.Repeat("&id=x", live.MaxFollowed+1)
	for query, code := range map[string]string{
		"id=": "invalid_name", "id=" + strings.Repeat("x", live.MaxIDLength+1): "invalid_name", many[1:]: "invalid_argument",
		"id=x&cursor=nonsense": "invalid_cursor",
	} {
		require.Contains(t, g.must(http.StatusBadRequest, http.MethodGet, "/v1/live?"+query, ""), `"code":"`+code+`"`)
		e, ok := g.connect("/v1/live?" + query).next()
		require.True(t, ok)
		require.Equal(t, "error", e.name)
		require.Contains(t, e.data, `"code":"`+code+`"`)
	}
	g.must(http.StatusMethodNotAllowed, http.MethodPost, "/v1/live?id=x", "")
	g.must(http.StatusNotFound, http.MethodGet, "/v1/live/", "")
}

// TestList lists the streams of a space, page by page, and those that are produced.
func TestList(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	require.JSONEq(t, `{"streams":[]}`, g.must(http.StatusOK, http.MethodGet, "/v1/live", ""))
	for n := range 5 {
		p := g.produce(fmt.Sprint("s.", n), &live.RegisterOptions{Metadata: map[string]int{"n": n}})
		g.publish(p, "1")
		if n%2 == 0 {
			require.NoError(t, p.Done(t.Context(), nil))
		}
	}
	type page struct {
		Streams []live.Status
		Next    string
	}
	list := func(query string) (p page) {
		require.NoError(t, json.Unmarshal([]byte(g.must(http.StatusOK, http.MethodGet, "/v1/live?"+query, "")), &p))
		return p
	}
	require.Len(t, list("").Streams, 5)
	require.Len(t, list("active=1").Streams, 2)
	require.Empty(t, list("space=other").Streams)
	var ids []string
	for next := ""; ; {
		p := list("limit=2&after=" + next)
		for _, s := range p.Streams {
			ids = append(ids, s.ID)
			require.EqualValues(t, 1, s.Chunks)
		}
		if next = p.Next; next == "" {
			break
		}
	}
	require.Equal(t, []string{"s.0", "s.1", "s.2", "s.3", "s.4"}, ids)
	for n := range 6 {
		require.NoError(t, g.produce(fmt.Sprint("large.", n), &live.RegisterOptions{}).Done(t.Context(), strings.Repeat("x", 1<<20-100)))
	}
	large := list("limit=1000")
	require.Len(t, large.Streams, 5, "a page ends after 4 MiB")
	require.Equal(t, "s.4", list("limit=1000&after=" + large.Next).Streams[5].ID)
	// Ids that JSON cannot hold end the pages, too.
	for _, id := range []string{"\xfe", "\xff", "\xff.%41 +~7"} {
		g.produce(id, nil)
	}
	var pages, found, empty int
	for next := ""; pages == 0 || next != ""; pages++ {
		p := list("limit=1&active=1&after=" + next)
		if next = p.Next; len(p.Streams) == 0 && next != "" {
			empty++
		}
		found += len(p.Streams)
		require.Less(t, pages, 20)
	}
	require.Equal(t, 2+3, found)
	require.Equal(t, 1, empty, "the verdicts that are passed over count as well")
	for query, code := range map[string]string{"limit=0": "invalid_argument", "limit=1001": "invalid_argument", "limit=x": "invalid_argument", "after=x": "invalid_cursor", "after=!.x": "invalid_cursor", "after=1.%25": "invalid_cursor"} {
		require.Contains(t, g.must(http.StatusBadRequest, http.MethodGet, "/v1/live?"+query, ""), code)
	}
}

// TestRaw gives clients that validate every event nothing but chunks, and a status where there are none.
func TestRaw(t *testing.T) {
	t.Parallel()
	g := start(t, "", nil)
	const path = "/v1/live/s?raw=1"
	for _, headers := range [][]string{nil, {"Accept", "text/event-stream"}} {
		g.must(http.StatusNoContent, http.MethodGet, "/v1/live/never?raw=1", "", headers...)
		g.must(http.StatusNoContent, http.MethodGet, "/v1/live/never?raw=1&wait=50ms", "", headers...)
		g.must(http.StatusBadRequest, http.MethodGet, path+"&cursor=nonsense", "", headers...)
	}
	p := g.produce("s", nil)
	g.publish(p, `{"type":"text"}`, "[DONE]")
	r := g.events(path, "Accept", "text/event-stream")
	first, _ := r.next()
	require.Equal(t, `{"type":"text"}`, first.data)
	last, _ := r.next()
	require.Equal(t, "[DONE]", last.data)
	require.NoError(t, p.Done(t.Context(), nil))
	_, ok := r.next()
	require.False(t, ok, "an end without an event")
	text := g.must(http.StatusOK, http.MethodGet, path, "")
	require.NotContains(t, text, "event:")
	require.Equal(t, 2, strings.Count(text, "data:"))
	require.Equal(t, 1, strings.Count(g.must(http.StatusOK, http.MethodGet, path, "", "Last-Event-ID", first.id), "data:"))
	g.must(http.StatusNoContent, http.MethodGet, path, "", "Last-Event-ID", last.id, "Accept", "text/event-stream")
	g.must(http.StatusNoContent, http.MethodGet, path+"&active=1", "")
	require.NoError(t, g.produce("empty", nil).Done(t.Context(), nil))
	g.must(http.StatusNoContent, http.MethodGet, "/v1/live/empty?raw=1", "")
	several := g.must(http.StatusOK, http.MethodGet, "/v1/live?raw=1&id=s", "")
	require.NotContains(t, several, "event:")
	require.Equal(t, 2, strings.Count(several, "data:"))
}
