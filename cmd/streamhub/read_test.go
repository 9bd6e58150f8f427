package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// cursorOf returns the cursor that raw output ended with.
func cursorOf(t *testing.T, r result) string {
	t.Helper()
	cursor, ok := strings.CutPrefix(lastLine(r.err), "cursor: ")
	if !ok {
		t.Fatalf("no cursor at the end of %q", r.err)
	}
	return cursor
}

func TestRead(t *testing.T) {
	url, _ := embedded(t)
	good(t, strings.NewReader("1\n2\n3\n4\n"), "append", "a/b", "--redis", url)
	good(t, strings.NewReader("x\n"), "append", "a/c", "--redis", url)
	for _, test := range []struct{ args, want string }{
		{"a/b", "1\n2\n3\n4\n"},
		{"a/b --limit 2", "1\n2\n"},
		{"a/b --from 3", "3\n4\n"},
		{"a/b --from 0", "1\n2\n3\n4\n"},
		{"a/b --from 5", ""},
		{"a/b --from 3 --limit 1", "3\n"},
		{"a/b --follow --limit 4", "1\n2\n3\n4\n"},
		{"a/b --follow --from 2 --limit 2", "2\n3\n"},
		{"a/b --null", "1\x002\x003\x004\x00"},
		{"a", "1\n2\n3\n4\nx\n"},
		{"a --limit 2", "1\n2\n"},
		{"a --follow --limit 5", "1\n2\n3\n4\nx\n"},
	} {
		t.Run(test.args, func(t *testing.T) {
			r := good(t, nil, append(strings.Fields("read "+test.args), "--redis", url)...)
			if r.out != test.want {
				t.Errorf("%q, want %q", r.out, test.want)
			}
			cursorOf(t, r)
		})
	}
}

// TestReadInPieces resumes with the cursor of each piece.
func TestReadInPieces(t *testing.T) {
	url, _ := embedded(t)
	good(t, strings.NewReader("1\n2\n3\n4\n5\n"), "append", "a/b", "--redis", url)
	for _, place := range []string{"a/b", "a"} {
		var all string
		cursor := ""
		for range 4 {
			r := good(t, nil, "read", place, "--from", cursor, "--limit", "2", "--redis", url)
			all += r.out
			cursor = cursorOf(t, r)
		}
		if all != "1\n2\n3\n4\n5\n" {
			t.Errorf("%s: %q", place, all)
		}
		good(t, strings.NewReader("6\n"), "append", "a/b", "--redis", url)
		if r := good(t, nil, "read", place, "--from", cursor, "--redis", url); r.out != "6\n" {
			t.Errorf("%s: %q after the end", place, r.out)
		}
		// The next place finds it there already.
		good(t, nil, "status", "a/b", "--redis", url)
		url, _ = embedded(t)
		good(t, strings.NewReader("1\n2\n3\n4\n5\n"), "append", "a/b", "--redis", url)
	}
}

// TestReadBehindEnd wants the cursor of a read that found nothing to resume where it looked.
func TestReadBehindEnd(t *testing.T) {
	url, _ := embedded(t)
	good(t, strings.NewReader("1\n2\n"), "append", "a/b", "--redis", url)
	r := good(t, nil, "read", "a/b", "--from", "3", "--redis", url)
	cursor := cursorOf(t, r)
	good(t, strings.NewReader("3\n"), "append", "a/b", "--redis", url)
	if r := good(t, nil, "read", "a/b", "--from", cursor, "--redis", url); r.out != "3\n" {
		t.Errorf("%q", r.out)
	}
	if r := good(t, nil, "read", "a/b", "--from", "9", "--redis", url); !strings.HasSuffix(r.err, "ends at sequence 3: there is nothing from 9 on\n") {
		t.Errorf("a position that does not exist: %q", r.err)
	}
}

func TestReadJSONL(t *testing.T) {
	url, store := embedded(t)
	good(t, nil, "append", "a/b", "--file", file(t, "<a> ü\n\nend"), "--redis", url)
	r := good(t, nil, "read", "a/b", "--output", "jsonl", "--redis", url)
	uuid := `"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"`
	form := regexp.MustCompile(`^\{"space":"a","segment":"b","sequence":\d+,"timestamp":\d+,"trx":\{"id":` + uuid +
		`,"node":"00000000-0000-0000-0000-000000000000","number":1\},"metadata":\{("eol":"none")?\},"payload":"[^"]*","cursor":"c[A-Za-z0-9_-]+"\}$`)
	var payloads []string
	for line := range strings.Lines(r.out) {
		line = strings.TrimSuffix(line, "\n")
		if !form.MatchString(line) {
			t.Errorf("line %s", line)
		}
		var e streamhub.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, string(e.Payload)+"|"+e.Metadata["eol"])
	}
	if got := strings.Join(payloads, " "); got != "<a> ü| | end|none" {
		t.Errorf("payloads %q", got)
	}
	if r.err != "" {
		t.Errorf("standard error %q", r.err)
	}
	entry, err := store.Peek(within(t), "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if peek := good(t, nil, "peek", "a/b", "--redis", url).out; peek != lastLine(r.out)+"\n" || !strings.Contains(peek, string(entry.Cursor())) {
		t.Errorf("peek %q", peek)
	}
}

func TestPeekAndStatusOfNothing(t *testing.T) {
	url, store := embedded(t)
	if _, _, err := store.Create(within(t), "a", "empty", nil); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"peek", "status"} {
		for _, name := range []string{"a/missing", "a/empty"} {
			if r := call(t, nil, command, name, "--redis", url); r.code != exitFailed || r.out != "" || r.err == "" {
				t.Errorf("%s %s: %+v", command, name, r)
			}
		}
	}
	if r := call(t, nil, "read", "a/missing", "--redis", url); r.code != exitFailed {
		t.Errorf("%+v", r)
	}
}

func TestStatus(t *testing.T) {
	url, _ := embedded(t)
	good(t, strings.NewReader("1\n2\n"), "append", "a/b/c", "--redis", url)
	var status streamhub.Status
	r := good(t, nil, "status", "a/b/c", "--redis", url)
	if err := json.Unmarshal([]byte(r.out), &status); err != nil {
		t.Fatal(err)
	}
	if status.Space != "a" || status.Segment != "b/c" || status.FirstSequence != 1 || status.LastSequence != 2 {
		t.Errorf("%+v", status)
	}
}

func TestReadLostAndTrimmed(t *testing.T) {
	url, store := embedded(t)
	ctx := within(t)
	good(t, strings.NewReader("1\n2\n3\n"), "append", "a/b", "--batch", "1", "--file", file(t, "1\n2\n3\n"), "--redis", url)
	first := cursorOf(t, good(t, nil, "read", "a/b", "--limit", "1", "--redis", url))
	if _, err := store.Trim(ctx, "a", "b", 2); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"1", first} {
		r := call(t, nil, "read", "a/b", "--from", from, "--redis", url)
		if r.code != exitHistory || !strings.Contains(r.err, "--from 3") || r.out != "" {
			t.Errorf("trimmed, from %s: %+v", from, r)
		}
	}
	last := cursorOf(t, good(t, nil, "read", "a/b", "--redis", url))
	if err := store.Delete(ctx, "a", "b", ""); err != nil {
		t.Fatal(err)
	}
	if r := call(t, nil, "read", "a/b", "--from", last, "--redis", url); r.code != exitFailed && r.code != exitHistory {
		t.Errorf("deleted: %+v", r)
	}
	good(t, strings.NewReader("new\n"), "append", "a/b", "--redis", url)
	for _, follow := range [][]string{nil, {"--follow"}} {
		r := call(t, nil, append([]string{"read", "a/b", "--from", last, "--redis", url}, follow...)...)
		if r.code != exitHistory || !strings.Contains(r.err, "sequence 1") || r.out != "" {
			t.Errorf("recreated %v: %+v", follow, r)
		}
	}
}

func TestFollowClosed(t *testing.T) {
	url, store := embedded(t)
	good(t, strings.NewReader("1\n2\n"), "append", "a/b", "--redis", url)
	verdict := streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "all said"}
	if _, err := store.CloseSegment(within(t), "a", "b", verdict, nil); err != nil {
		t.Fatal(err)
	}
	r := good(t, nil, "read", "a/b", "--follow", "--redis", url)
	want := `{"kind":"done","reason":"all said"}` + "\ncursor: "
	if r.out != "1\n2\n" || !strings.HasPrefix(r.err, want) {
		t.Errorf("%+v, want %q on standard error", r, want)
	}
	r = good(t, nil, "read", "a/b", "--follow", "--output", "jsonl", "--redis", url)
	if want := `{"kind":"done","reason":"all said"}` + "\n"; r.err != want {
		t.Errorf("%q, want %q", r.err, want)
	}
}

// TestReadNothing ends without a cursor where there is nothing to go on from.
func TestReadNothing(t *testing.T) {
	url, store := embedded(t)
	if _, _, err := store.Create(within(t), "a", "b", nil); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"read a/b", "read a", "read a/none", "read none"} {
		r := call(t, nil, append(strings.Fields(args), "--redis", url)...)
		if strings.Contains(r.err, "cursor:") || r.out != "" || (r.code == 0) != !strings.Contains(args, "none") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// TestFollowPrompt wants each line as soon as it is appended.
func TestFollowPrompt(t *testing.T) {
	url, _ := embedded(t)
	for _, place := range []string{"a/b", "a"} {
		p := start(t, nil, "read", place, "--follow", "--redis", url)
		for i := range 3 {
			good(t, strings.NewReader(fmt.Sprintln(place, i)), "append", "a/b", "--redis", url)
		}
		for i := 0; i < 3; {
			if line := p.line(); strings.HasPrefix(line, place+" ") {
				if want := fmt.Sprint(place, " ", i); line != want {
					t.Errorf("%q, want %q", line, want)
				}
				i++
			}
		}
	}
}

func TestFollowSignal(t *testing.T) {
	url := testredis.Shared(t).URL()
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: 0} {
		name := fresh("followed") + "/1"
		good(t, strings.NewReader("1\n2\n"), "append", name, "--redis", url)
		p := start(t, nil, "read", name, "--follow", "--redis", url)
		for _, want := range []string{"1", "2"} {
			if line := p.line(); line != want {
				t.Errorf("%q, want %q", line, want)
			}
		}
		p.signal(signal)
		out, code := p.rest()
		if code != want || out != "" {
			t.Errorf("%v: exit %d, want %d; %q", signal, code, want, out)
		}
		good(t, strings.NewReader("3\n"), "append", name, "--redis", url)
		cursor := cursorOf(t, result{err: p.err.String()})
		if r := good(t, nil, "read", name, "--from", cursor, "--redis", url); r.out != "3\n" {
			t.Errorf("%v: resumed with %q", signal, r.out)
		}
	}
}

// TestReadNobody closes standard output in the middle, as head does.
func TestReadNobody(t *testing.T) {
	url := testredis.Shared(t).URL()
	name := fresh("nobody") + "/1"
	good(t, strings.NewReader(strings.Repeat(strings.Repeat("x", 100)+"\n", 50_000)), "append", name, "--redis", url)
	for _, output := range []string{"raw", "jsonl"} {
		p := start(t, nil, "read", name, "--output", output, "--redis", url)
		p.line()
		if err := p.outPipe.Close(); err != nil {
			t.Error(err)
		}
		if code := p.wait(); code != 0 || p.err.String() != "" {
			t.Errorf("%s: exit %d\n%s", output, code, p.err)
		}
	}
}

// TestResume kills followers while a writer runs; each goes on after the last whole line of the
// one before. Together they have every line once.
func TestResume(t *testing.T) {
	url := testredis.Shared(t).URL()
	const lines = 30_000
	text := generate(lines)
	for _, place := range []string{fresh("resumed") + "/1", fresh("resumed")} {
		t.Run(place, func(t *testing.T) {
			space, _, _ := strings.Cut(place, "/")
			writer := start(t, nil, "append", space+"/1", "--batch", "20", "--redis", url)
			go func() {
				_, _ = writer.in.Write([]byte(text))
				_ = writer.in.Close()
			}()
			var got bytes.Buffer
			seen := uint64(0)
			cursor := ""
			for life := 0; seen < lines+1; life++ {
				p := start(t, nil, "read", place, "--follow", "--output", "jsonl", "--from", cursor, "--redis", url)
				inTime := p.waited()
				stop := seen + lines/7
				for {
					line, err := p.out.ReadString('\n')
					if err != nil {
						break // killed; line is not whole
					}
					var e struct {
						Sequence uint64
						Payload  string
						Metadata map[string]string
						Cursor   string
					}
					if err := json.Unmarshal([]byte(line), &e); err != nil {
						t.Fatalf("%q: %v", line, err)
					}
					if e.Sequence != seen+1 {
						t.Fatalf("sequence %d after %d in life %d", e.Sequence, seen, life)
					}
					seen, cursor = e.Sequence, e.Cursor
					payload, err := base64.StdEncoding.DecodeString(e.Payload)
					if err != nil {
						t.Fatal(err)
					}
					got.Write(appendRaw(nil, &streamhub.Entry{Payload: payload, Metadata: e.Metadata}, '\n'))
					if seen == stop || seen == lines+1 {
						p.signal(syscall.SIGKILL)
					}
				}
				inTime()
				p.wait()
			}
			if got.String() != text {
				t.Errorf("%d bytes came back, want the %d that went in", got.Len(), len(text))
			}
			if code := writer.wait(); code != 0 {
				t.Errorf("writer: exit %d\n%s", code, writer.err)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	url := testredis.Shared(t).URL()
	space := fresh("watched")
	name := space + "/1"
	good(t, strings.NewReader("1\n"), "append", name, "--redis", url)
	for _, place := range []string{name, space} {
		p := start(t, nil, "watch", place, "--redis", url)
		next := func(last uint64) {
			t.Helper()
			for {
				var status streamhub.Status
				if err := json.Unmarshal([]byte(p.line()), &status); err != nil {
					t.Fatal(err)
				}
				if status.Space != space || status.Segment != "1" {
					t.Fatalf("%+v", status)
				}
				if status.LastSequence == last {
					return
				}
			}
		}
		status := good(t, nil, "status", name, "--redis", url).out
		var now streamhub.Status
		if err := json.Unmarshal([]byte(status), &now); err != nil {
			t.Fatal(err)
		}
		next(now.LastSequence)
		good(t, strings.NewReader("x\n"), "append", name, "--redis", url)
		next(now.LastSequence + 1)
		p.signal(syscall.SIGTERM)
		if _, code := p.rest(); code != 0 {
			t.Errorf("exit %d\n%s", code, p.err)
		}
	}
}

// A shortWriter takes so many bytes and then fails.
type shortWriter struct{ left int }

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(w.left, len(p))
	w.left -= n
	if n < len(p) {
		return n, errors.New("full")
	}
	return n, nil
}

// TestSinkFull wants the position of the last entry that left as a whole.
func TestSinkFull(t *testing.T) {
	for room, want := range map[int]uint64{0: 0, 2: 0, 3: 1, 5: 1, 6: 2} {
		out := newSink(&shortWriter{room}, func(b []byte, e *streamhub.Entry) ([]byte, error) { return appendRaw(b, e, '\n'), nil })
		for i := range uint64(3) {
			e := streamhub.Entry{Payload: []byte("ab"), Position: streamhub.Position{Sequence: i + 1}}
			if err := out.write(&e); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.flush(); err == nil {
			t.Errorf("room for %d bytes: no error", room)
		}
		if out.written.Sequence != want {
			t.Errorf("room for %d bytes: written up to %d, want %d", room, out.written.Sequence, want)
		}
	}
}

// TestNotYet says that there is nothing yet where a command waits.
func TestNotYet(t *testing.T) {
	url, _ := embedded(t)
	good(t, strings.NewReader("1\n"), "append", "a/b", "--redis", url)
	for place, missing := range map[string]bool{"a": false, "a/b": false, "a/never": true, "never": true} {
		for _, args := range [][]string{{"read", place, "--follow"}, {"watch", place}} {
			var out, said buffer
			ctx, end := context.WithCancelCause(within(t))
			ended := make(chan int)
			go func() { ended <- run(ctx, append(args, "--redis", url), strings.NewReader(""), &out, &said, nil) }()
			if missing {
				until(t, "a word of what is missing", func() bool { return strings.Contains(said.String(), "yet; waiting for") })
			} else if args[0] == "read" {
				until(t, "an entry", func() bool { return out.String() == "1\n" })
			}
			end(interrupt{syscall.SIGINT})
			if code := <-ended; code != exitInterrupted || !missing && strings.Contains(said.String(), "waiting") {
				t.Errorf("%v: %d, %q", args, code, said.String())
			}
		}
	}
}
