package durable_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A model is what streams should be after the same requests.
type model struct {
	t        *testing.T
	r        *rand.Rand
	gateways []*gateway
	streams  map[string]*modelStream
	log      []string
}

type modelStream struct {
	json      bool
	messages  []string
	closed    bool
	closer    string
	deleted   bool // but forks read it
	seq       string
	producers map[string]*modelProducer
	// ends are the offsets that were seen, by how many messages lie before them.
	ends   map[int]string
	source *modelStream
	forks  int
}

type modelProducer struct{ epoch, seq int }

const (
	text = "text/plain"
	js   = "application/json"
)

func (s *modelStream) contentType() string {
	if s.json {
		return js
	}
	return text
}

// TestModel makes random requests, each through one of two gateways, and compares every answer with
// what a model says.
func TestModel(t *testing.T) {
	a, b := pair(t, nil)
	for n := range 25 {
		t.Run(fmt.Sprint(n), func(t *testing.T) { walk(t, seed(t), fmt.Sprintf("m%d", n), 120, nil, a, b) })
	}
}

// TestModelUser runs it as the documented user, to which nothing may be refused.
func TestModelUser(t *testing.T) {
	server := testredis.Start(t, nil)
	testredis.AsUser(t, server)
	url := "redis://" + testredis.User + ":" + testredis.Password + "@" + server.Addr()
	walk(t, seed(t), "user", 250, nil, start(t, url, nil), start(t, url, nil))
}

// TestModelRestart has Redis crash and come back meanwhile.
func TestModelRestart(t *testing.T) {
	server := testredis.Start(t, &testredis.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	a, b := start(t, server.URL(), nil), start(t, server.URL(), nil)
	walk(t, seed(t), "restart", 250, func(m *model) {
		server.Kill()
		server.Restart()
		for _, g := range m.gateways {
			eventually(t, func(ctx context.Context) error { return g.hub.Ping(ctx) })
		}
	}, a, b)
}

func seed(t *testing.T) uint64 {
	s := rand.Uint64() >> 32
	if text := os.Getenv("STREAMHUB_SEED"); text != "" {
		var err error
		s, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("STREAMHUB_SEED=%d", s)
	return s
}

func walk(t *testing.T, seed uint64, space string, steps int, crash func(*model), gateways ...*gateway) {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), gateways: gateways, streams: map[string]*modelStream{}}
	defer func() {
		if t.Failed() {
			t.Log(strings.Join(m.log, "\n"))
		}
	}()
	ops := []func(path string){m.put, m.post, m.post, m.post, m.produce, m.produce, m.closeIt, m.remove, m.head, m.read, m.read, m.fork}
	for n := range steps {
		if crash != nil && n%60 == 59 {
			crash(m)
		}
		path := fmt.Sprintf("%s/s%d", space, m.r.IntN(5))
		ops[m.r.IntN(len(ops))](path)
		if t.Failed() {
			return
		}
	}
	for path, s := range m.streams {
		if !s.deleted {
			m.readFrom(path, s, "-1", 0)
		}
	}
}

// send makes a request through one of the gateways.
func (m *model) send(method, path, body string, headers ...string) *reply {
	m.t.Helper()
	n := m.r.IntN(len(m.gateways))
	r := m.gateways[n].do(m.t, method, path, body, headers...)
	m.log = append(m.log, fmt.Sprintf("%d: %s %s %q %q: %d %q %q", n, method, path, body, headers, r.status, r.body, r.offset()))
	return r
}

func (m *model) want(r *reply, status int) {
	m.t.Helper()
	if r.status == http.StatusServiceUnavailable && status >= 400 && r.slow() {
		return // it was sent again: what is refused the second time may have been stored the first time
	}
	require.Equal(m.t, status, r.status, r.body)
}

// find returns a stream that can be used; a request to any other one has the status.
func (m *model) find(path string) (s *modelStream, status int) {
	s = m.streams[path]
	switch {
	case s == nil:
		return nil, http.StatusNotFound
	case s.deleted:
		return nil, http.StatusGone
	}
	return s, 0
}

// ended notes where a stream ends.
func (m *model) ended(s *modelStream, r *reply) {
	m.t.Helper()
	n, at := len(s.messages), r.offset()
	require.NotEmpty(m.t, at)
	if had := s.ends[n]; had != "" {
		require.Equal(m.t, had, at, "one place has one offset")
	}
	s.ends[n] = at
	for k, other := range s.ends {
		require.Equal(m.t, k < n, other < at, "offsets order as places do")
	}
}

func (m *model) message(json bool) string {
	v := m.r.IntN(1000)
	if json {
		return fmt.Sprintf(`{ "v":%d.0}`, v)
	}
	return fmt.Sprintf("<%d>\r\n", v)
}

// body makes a body of some messages.
func (m *model) body(json bool) (body string, messages []string) {
	if !json {
		body = m.message(false)
		return body, []string{body}
	}
	for range 1 + m.r.IntN(3) {
		messages = append(messages, m.message(true))
	}
	if len(messages) == 1 && m.r.IntN(2) == 0 {
		return messages[0], messages
	}
	return " [" + strings.Join(messages, " , ") + "]\n", messages
}

func (m *model) put(path string) {
	asked := &modelStream{json: m.r.IntN(2) == 0, closed: m.r.IntN(8) == 0, producers: map[string]*modelProducer{}, ends: map[int]string{}}
	body, messages := "", []string(nil)
	if m.r.IntN(2) == 0 {
		body, messages = m.body(asked.json)
	}
	headers := []string{"Content-Type", asked.contentType()}
	if asked.closed {
		headers = append(headers, "Stream-Closed", "true")
	}
	r := m.send(http.MethodPut, path, body, headers...)
	switch s := m.streams[path]; {
	case s == nil:
		m.want(r, http.StatusCreated)
		asked.messages = messages
		m.streams[path] = asked
		m.ended(asked, r)
	case s.deleted, s.source != nil, s.json != asked.json, s.closed != asked.closed:
		m.want(r, http.StatusConflict)
	default:
		m.want(r, http.StatusOK)
		m.ended(s, r)
	}
}

func (m *model) post(path string) {
	json := m.r.IntN(2) == 0
	s, status := m.find(path)
	if s != nil && m.r.IntN(4) > 0 {
		json = s.json
	}
	body, messages := m.body(json)
	headers := []string{"Content-Type", (&modelStream{json: json}).contentType()}
	seq := ""
	if m.r.IntN(4) == 0 {
		seq = fmt.Sprint(m.r.IntN(100))
		headers = append(headers, "Stream-Seq", seq)
	}
	match := ""
	if m.r.IntN(4) == 0 && s != nil {
		for _, match = range s.ends {
			break
		}
		headers = append(headers, "If-Match", `"`+match+`"`)
	}
	r := m.send(http.MethodPost, path, body, headers...)
	switch {
	case s == nil:
		m.want(r, status)
	case s.closed:
		m.want(r, http.StatusConflict)
		require.Equal(m.t, "true", r.header.Get("Stream-Closed"))
		m.ended(s, r)
	case s.json != json, seq != "" && s.seq != "" && seq <= s.seq:
		if match == "" || r.status != http.StatusPreconditionFailed {
			m.want(r, http.StatusConflict)
		}
	case match != "" && match != s.ends[len(s.messages)]:
		m.want(r, http.StatusPreconditionFailed)
		m.ended(s, r)
	default:
		m.want(r, http.StatusNoContent)
		s.messages = append(s.messages, messages...)
		if seq != "" {
			s.seq = seq
		}
		m.ended(s, r)
	}
}

func (m *model) produce(path string) {
	s, status := m.find(path)
	if s == nil {
		m.want(m.send(http.MethodPost, path, "x", append(producer("p", 0, 0), "Content-Type", text)...), status)
		return
	}
	id := fmt.Sprintf("p%d", m.r.IntN(2))
	p := s.producers[id]
	epoch, seq := 0, 0
	if p != nil {
		epoch, seq = p.epoch, p.seq+1
		switch m.r.IntN(6) {
		case 0:
			seq = m.r.IntN(seq + 2)
		case 1:
			epoch, seq = epoch+1, 0
		case 2:
			epoch--
		}
	}
	if epoch < 0 {
		return
	}
	closes := m.r.IntN(12) == 0
	body, messages := m.body(s.json)
	headers := append(producer(id, epoch, seq), "Content-Type", s.contentType())
	if closes {
		headers = append(headers, "Stream-Closed", "true")
	}
	r := m.send(http.MethodPost, path, body, headers...)
	tuple := fmt.Sprint(id, " ", epoch, " ", seq)
	switch {
	case p != nil && epoch == p.epoch && seq == p.seq:
		m.want(r, http.StatusNoContent)
	case s.closed:
		m.want(r, http.StatusConflict)
		m.ended(s, r)
	case p != nil && epoch < p.epoch:
		m.want(r, http.StatusForbidden)
		require.Equal(m.t, fmt.Sprint(p.epoch), r.header.Get("Producer-Epoch"))
	case p != nil && epoch == p.epoch && seq < p.seq:
		m.want(r, http.StatusNoContent)
		require.Equal(m.t, fmt.Sprint(p.seq), r.header.Get("Producer-Seq"))
	case p != nil && epoch == p.epoch && seq > p.seq+1:
		m.want(r, http.StatusConflict)
		require.Equal(m.t, fmt.Sprint(p.seq+1), r.header.Get("Producer-Expected-Seq"))
	default:
		if r.status != http.StatusNoContent || !r.slow() { // it was sent again, and taken for a repeat
			m.want(r, http.StatusOK)
		}
		s.messages = append(s.messages, messages...)
		s.producers[id] = &modelProducer{epoch, seq}
		if closes {
			s.closed, s.closer = true, tuple
		}
		m.ended(s, r)
	}
}

func (m *model) closeIt(path string) {
	if m.r.IntN(3) > 0 {
		return
	}
	s, status := m.find(path)
	r := m.send(http.MethodPost, path, "", "Stream-Closed", "true")
	if s == nil {
		m.want(r, status)
		return
	}
	m.want(r, http.StatusNoContent)
	s.closed = true
	m.ended(s, r)
}

func (m *model) remove(path string) {
	if m.r.IntN(2) > 0 {
		return
	}
	s, status := m.find(path)
	r := m.send(http.MethodDelete, path, "")
	if s == nil {
		m.want(r, status)
		return
	}
	m.want(r, http.StatusNoContent)
	m.drop(path, s)
}

// drop lets a stream go, and the sources that only it kept.
func (m *model) drop(path string, s *modelStream) {
	if s.forks > 0 {
		s.deleted = true
		return
	}
	delete(m.streams, path)
	if s.source == nil {
		return
	}
	s.source.forks--
	if s.source.forks == 0 && s.source.deleted {
		for other, o := range m.streams {
			if o == s.source {
				m.drop(other, o)
			}
		}
	}
}

func (m *model) head(path string) {
	s, status := m.find(path)
	r := m.send(http.MethodHead, path, "")
	if s == nil {
		m.want(r, status)
		return
	}
	m.want(r, http.StatusOK)
	require.Equal(m.t, s.contentType(), r.header.Get("Content-Type"))
	require.Equal(m.t, s.closed, r.header.Get("Stream-Closed") == "true")
	m.ended(s, r)
}

func (m *model) read(path string) {
	s, status := m.find(path)
	if s == nil {
		m.want(m.send(http.MethodGet, path, ""), status)
		return
	}
	for n, at := range s.ends { // any of them
		m.readFrom(path, s, at, n)
		return
	}
}

func (m *model) readFrom(path string, s *modelStream, at string, skip int) {
	m.t.Helper()
	r := m.send(http.MethodGet, path+"?offset="+at, "")
	m.want(r, http.StatusOK)
	want := strings.Join(s.messages[skip:], "")
	if s.json {
		require.True(m.t, json.Valid([]byte(r.body)))
		want = "[" + strings.Join(s.messages[skip:], ",") + "]"
	}
	require.Equal(m.t, want, r.body)
	require.Equal(m.t, "true", r.header.Get("Stream-Up-To-Date"))
	require.Equal(m.t, s.closed, r.header.Get("Stream-Closed") == "true")
	m.ended(s, r)
}

func (m *model) fork(path string) {
	from := fmt.Sprintf("%s/s%d", path[:strings.Index(path, "/")], m.r.IntN(5))
	if from == path || m.streams[path] != nil {
		return
	}
	source, status := m.find(from)
	headers := []string{"Stream-Forked-From", "/v1/stream/" + from}
	n := 0
	if source != nil {
		n = len(source.messages)
		if m.r.IntN(2) == 0 {
			for k, at := range source.ends {
				n = k
				headers = append(headers, "Stream-Fork-Offset", at)
				break
			}
		}
	}
	r := m.send(http.MethodPut, path, "", headers...)
	switch {
	case source == nil && status == http.StatusGone:
		m.want(r, http.StatusConflict)
	case source == nil:
		m.want(r, http.StatusNotFound)
	default:
		m.want(r, http.StatusCreated)
		s := &modelStream{
			json: source.json, messages: append([]string(nil), source.messages[:n]...), source: source,
			producers: map[string]*modelProducer{}, ends: map[int]string{},
		}
		for k, at := range source.ends {
			if k <= n {
				s.ends[k] = at
			}
		}
		source.forks++
		m.streams[path] = s
		m.ended(s, r)
	}
}
