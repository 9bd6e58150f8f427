package streamkittest

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

//go:embed testdata/frames.jsonl
var captured []byte

// A captureLine is a frame that was captured between a released client and a released server.
type captureLine struct {
	Scenario string          `json:"scenario"`
	Conn     int             `json:"conn"`
	Dir      string          `json:"dir"`
	Kind     string          `json:"kind"`
	Opcode   string          `json:"opcode"`
	Raw      json.RawMessage `json:"raw"`
	Text     string          `json:"text"`
}

// differences are the answers that differ on purpose: by scenario and what the captured server said.
// An empty ours means that nothing is said.
var differences = []struct{ scenario, theirs, ours, why string }{
	{"errors_raw_requests", `of type string"}`, `of type string"}`, "the error of a JSON library names a type of the program"},
	{"errors_raw_requests", `cannot decode hex string`, `invalid byte`, "the error of a library for hexadecimal digits"},
	{"half_close_raw", `"last_sequence":2`, `"err":"context canceled"`, "a producer that gives up has nothing stored, and is told so"},
	{"half_close_raw", `{"type":"mux::close"}`, "", "the end was the answer before"},
	{"half_close_raw", `"sequence":2`, `"sequence":0`, "nothing was stored of the producer that gave up"},
	{"half_close_raw", `"sequence":1`, `"sequence":0`, "nor of the one whose connection was lost"},
	{"q_worker_evict", "/presence", "*", "heartbeats come by the clock, and the replay is faster"},
	{"workers", "/presence", "*", "heartbeats come by the clock, and the replay is faster"},
	{"subscribe_heartbeat_raw", `"heartbeat":true`, "*", "heartbeats come by the clock, and the replay is faster"},
	{"workers_duplicate_id", "worker_inventory", "*", "a list is not sent again if nothing on it has changed"},
	{"q_worker_evict", "only presence of the own worker", "*", "a worker that is taken off the list is told"},
	{"*", `"err":"context canceled"`, "*", "every channel is ended by the gateway, also after a client that has gone"},
}

// skipped are scenarios that cannot be replayed.
var skipped = map[string]string{
	"q_slow_producer_stall": "it records that an idle producer stalls the whole space, which is a defect",
	"http_auth":             "its tokens are not in the capture; Run has the same requests",
}

// Replay sends what the client of each captured scenario sent, in the same order with respect to the
// answers, and compares what comes on each channel.
func Replay(t *testing.T, open func(t *testing.T) Gateway) {
	var scenarios []string
	lines := map[string][]captureLine{}
	for _, text := range bytes.Split(bytes.TrimSpace(captured), []byte("\n")) {
		var l captureLine
		require.NoError(t, json.Unmarshal(text, &l))
		name := strings.TrimSuffix(l.Scenario, "_2") // the same, gone on with
		if lines[name] == nil {
			scenarios = append(scenarios, name)
		}
		lines[name] = append(lines[name], l)
	}
	used := make([]bool, len(differences))
	for _, name := range scenarios {
		t.Run(name, func(t *testing.T) {
			if why := skipped[name]; why != "" {
				t.Log("not replayed:", why)
				return
			}
			r := &replay{t: t, g: open(t), name: name, used: used, conns: map[int]*Client{}, ids: map[uuid.UUID]uuid.UUID{}, times: map[int64]int64{}}
			r.run(lines[name])
		})
	}
	for i, d := range differences {
		if !used[i] && d.scenario != "*" && !t.Failed() {
			t.Errorf("a difference that is none: %s %q", d.scenario, d.theirs)
		}
	}
}

type replay struct {
	t     *testing.T
	g     Gateway
	name  string
	used  []bool
	conns map[int]*Client
	ids   map[uuid.UUID]uuid.UUID // of stores and channels, captured to ours
	times map[int64]int64         // captured to ours
	got   chan Frame
	// What came and what is expected, by channel of ours.
	answers  map[uuid.UUID][]string
	expected map[uuid.UUID][]string
	compared map[uuid.UUID]int
}

func (r *replay) id(captured uuid.UUID) uuid.UUID {
	if captured == uuid.Nil {
		return captured
	}
	if _, ok := r.ids[captured]; !ok {
		r.ids[captured] = uuid.New()
	}
	return r.ids[captured]
}

func (r *replay) run(lines []captureLine) {
	r.got = make(chan Frame, 4096)
	r.answers, r.expected, r.compared = map[uuid.UUID][]string{}, map[uuid.UUID][]string{}, map[uuid.UUID]int{}
	allowed := map[uuid.UUID]bool{} // stores that the captured token allowed
	for _, l := range lines {
		var f Frame
		if l.Kind == "frame" && l.Opcode == "text" && json.Unmarshal(l.Raw, &f) == nil && l.Dir == "s2c" && f.ControlType == "data" {
			allowed[r.id(f.StoreID)] = true
		}
	}
	var scopes []string
	if len(allowed) == 0 {
		scopes = []string{"streamkit::*"}
	}
	for store := range allowed {
		scopes = append(scopes, "streamkit::"+store.String())
	}
	opened := map[int]bool{}
	for _, l := range lines {
		if l.Kind != "frame" {
			opened[l.Conn] = opened[l.Conn] || l.Kind == "http"
			continue
		}
		if l.Opcode == "close" && l.Dir == "c2s" && r.conns[l.Conn] != nil {
			r.settle(time.Second)
			r.conns[l.Conn].conn.Close()
			delete(r.conns, l.Conn)
		}
		var f Frame
		if l.Opcode != "text" || json.Unmarshal(l.Raw, &f) != nil || f.ControlType == "close" {
			continue
		}
		if l.Dir == "s2c" {
			if f.ControlType == "data" || f.ControlType == "error" {
				id := r.id(f.ChannelID)
				r.expected[id] = append(r.expected[id], string(f.Payload))
			}
			continue
		}
		r.settle(300 * time.Millisecond)
		c := r.conns[l.Conn]
		if c == nil {
			c = Dial(r.t, r.g, scopes...)
			c.every = func(f Frame) {
				if f.ControlType == "data" || f.ControlType == "error" {
					r.got <- f
				}
			}
			r.conns[l.Conn] = c
		}
		if f.ControlType == "ping" {
			c.Ping()
			continue
		}
		if _, open := r.ids[f.ChannelID]; !open {
			nextMillisecond() // what calls stored one after the other had other times there
		}
		f.StoreID, f.ChannelID = r.id(f.StoreID), r.id(f.ChannelID)
		f.Payload = r.translate(f.Payload)
		require.NoError(r.t, c.send(f))
	}
	r.settle(2 * time.Second)
	for id := range r.expected {
		r.compare(id, true)
	}
}

// nextMillisecond waits until the clock, which is that of Redis too, shows another millisecond.
func nextMillisecond() {
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
		runtime.Gosched()
	}
}

// settle waits until everything that is expected so far has come, or for that long.
func (r *replay) settle(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		missing := false
		for id, expected := range r.expected {
			missing = missing || len(r.answers[id]) < len(expected)
		}
		if !missing && len(r.got) == 0 {
			break
		}
		select {
		case f := <-r.got:
			r.answers[f.ChannelID] = append(r.answers[f.ChannelID], string(f.Payload))
			continue
		case <-timer.C:
		}
		break
	}
	for id := range r.expected {
		r.compare(id, false)
	}
}

// compare looks at the answers of a channel that have come; at the end it misses those that have not.
func (r *replay) compare(id uuid.UUID, end bool) {
	expected, answers := r.expected[id], r.answers[id]
	for i := r.compared[id]; i < len(expected); i++ {
		ours := ""
		if i < len(answers) {
			ours = answers[i]
		} else if !end {
			return
		}
		r.compared[id] = i + 1
		r.learn(expected[i], ours)
		if plain(expected[i]) == plain(ours) || r.excused(expected[i], ours) {
			continue
		}
		r.t.Errorf("channel %v, answer %d:\n captured %s\n     ours %s", id, i, expected[i], ours)
	}
	if end && len(answers) > len(expected) {
		for _, extra := range answers[len(expected):] {
			if !r.excused("", extra) {
				r.t.Errorf("channel %v: an answer that was not captured: %s", id, extra)
			}
		}
	}
}

func (r *replay) excused(theirs, ours string) bool {
	for i, d := range differences {
		if (d.scenario == r.name || d.scenario == "*") && (strings.Contains(theirs, d.theirs) || theirs == "" && strings.Contains(ours, d.theirs)) &&
			(d.ours == "*" || d.ours == "" && ours == "" || d.ours != "" && strings.Contains(ours, d.ours)) {
			r.used[i] = true
			return true
		}
	}
	return false
}

// learn notes which time of ours stands for one that was captured.
func (r *replay) learn(theirs, ours string) {
	var a, b any
	if json.Unmarshal([]byte(theirs), &a) == nil && json.Unmarshal([]byte(ours), &b) == nil {
		r.match(a, b)
	}
}

func (r *replay) match(a, b any) {
	switch a := a.(type) {
	case map[string]any:
		b, _ := b.(map[string]any)
		for k, v := range a {
			r.match(v, b[k])
		}
	case []any:
		b, _ := b.([]any)
		for i := range min(len(a), len(b)) {
			r.match(a[i], b[i])
		}
	case float64:
		if b, ok := b.(float64); ok && a > 1e12 && b > 1e12 {
			r.times[int64(a)] = int64(b)
		}
	}
}

// translate puts our times where a request names captured ones.
func (r *replay) translate(payload []byte) []byte {
	text := string(payload)
	for theirs, ours := range r.times {
		text = strings.ReplaceAll(text, fmt.Sprint(theirs), fmt.Sprint(ours))
		text = strings.ReplaceAll(text, stamp(theirs), stamp(ours))
	}
	return []byte(text)
}

func stamp(ms int64) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(ms)^1<<63))
}

// plain writes an answer without what differs from run to run.
func plain(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	b, _ := json.Marshal(masked(v))
	return string(b)
}

func masked(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if id, ok := v[k].(string); ok && k == "id" && id != uuid.Nil.String() {
				v[k] = "some"
			} else {
				v[k] = masked(v[k])
			}
		}
	case []any:
		for i := range v {
			v[i] = masked(v[i])
		}
	case float64:
		if v > 1e12 {
			return "some"
		}
	}
	return v
}
