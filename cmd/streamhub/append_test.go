package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func summary(t *testing.T, r result) appendSummary {
	t.Helper()
	var s appendSummary
	if err := json.Unmarshal([]byte(lastLine(r.out)), &s); err != nil {
		t.Fatalf("%q: %v", r.out, err)
	}
	return s
}

// generate writes lines of every kind: with bytes that are not ASCII or not text at all, with CRLF,
// empty ones, and no LF after the last.
func generate(lines int) string {
	random := rand.New(rand.NewPCG(1, 2))
	kinds := []string{"", "plain text", "grüße aus köln", "日本語のテキスト", "crlf\r", "\x00nul\x00", "\xff\xfe\x80", "\t\"quoted\" <&>", "\r"}
	var b strings.Builder
	for i := range lines {
		b.WriteString(kinds[random.IntN(len(kinds))])
		if random.IntN(3) > 0 {
			fmt.Fprintf(&b, " %d", i)
		}
		b.WriteByte('\n')
	}
	b.WriteString("the end without a line feed")
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	url := testredis.Shared(t).URL()
	const lines = 120_000
	text := generate(lines)
	path := file(t, text)
	for _, test := range []struct {
		name  string
		null  bool
		input io.Reader
		args  []string
	}{
		{"file", false, nil, []string{"--file", path}},
		{"standard input", false, strings.NewReader(text), nil},
		{"null", true, strings.NewReader(text), []string{"--null"}},
		{"small batches", false, strings.NewReader(text), []string{"--batch", "100"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := fresh("roundtrip") + "/" + t.Name()
			s := summary(t, good(t, test.input, append([]string{"append", name, "--redis", url}, test.args...)...))
			records := lines + 1
			if test.null {
				records = strings.Count(text, "\x00") + 1
			}
			if s.First != 1 || s.Records != records || s.Last != uint64(records) || s.Cursor == "" {
				t.Errorf("%+v, want %d records", s, records)
			}
			args := []string{"read", name, "--redis", url}
			if test.null {
				args = append(args, "--null")
			}
			r := good(t, nil, args...)
			if r.out != text {
				t.Errorf("%d bytes came back, want the %d that went in", len(r.out), len(text))
			}
			if want := "cursor: " + string(s.Cursor); lastLine(r.err) != want {
				t.Errorf("standard error ends with %q, want %q", lastLine(r.err), want)
			}
		})
	}
}

func TestAppendNothing(t *testing.T) {
	url, _ := embedded(t)
	r := good(t, strings.NewReader(""), "append", "a/b", "--redis", url)
	if r.out != "" {
		t.Errorf("%q", r.out)
	}
}

func TestAppendExpect(t *testing.T) {
	url, _ := embedded(t)
	s := summary(t, good(t, strings.NewReader("1\n2\n3\n"), "append", "a/b", "--expect", "1", "--batch", "1", "--redis", url))
	if s.First != 1 || s.Last != 3 || s.Records != 3 {
		t.Errorf("%+v", s)
	}
	r := call(t, strings.NewReader("4\n"), "append", "a/b", "--expect", "2", "--redis", url)
	if r.code != exitConflict || r.out != "" || !strings.Contains(r.err, "sequence 4") {
		t.Errorf("%+v", r)
	}
	s = summary(t, good(t, strings.NewReader("4\n5"), "append", "a/b", "--expect", "4", "--redis", url))
	if s.First != 4 || s.Last != 5 {
		t.Errorf("%+v", s)
	}
}

// TestAppendExpectChain lets another writer come between two batches.
func TestAppendExpectChain(t *testing.T) {
	url, _ := embedded(t)
	in, writer := io.Pipe()
	done := make(chan result, 1)
	go func() { done <- call(t, in, "append", "a/b", "--expect", "1", "--redis", url) }()
	write := func(text string) {
		if _, err := io.WriteString(writer, text); err != nil {
			t.Error(err)
		}
	}
	write("1\n")
	until(t, "first record", func() bool { return call(t, nil, "peek", "a/b", "--redis", url).code == 0 })
	good(t, strings.NewReader("2\n"), "append", "a/b", "--redis", url)
	write("3\n")
	r := <-done
	_ = writer.Close()
	if s := summary(t, r); r.code != exitConflict || s.Records != 1 || s.Last != 1 {
		t.Errorf("exit %d, %+v\n%s", r.code, s, r.err)
	}
}

// TestAppendTogether has several writers on one segment: every line is stored once, and those of
// one writer in order.
func TestAppendTogether(t *testing.T) {
	url := testredis.Shared(t).URL()
	const writers, lines = 4, 2000
	name := fresh("together") + "/1"
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			var text strings.Builder
			for i := range lines {
				fmt.Fprintf(&text, "%d %d\n", w, i)
			}
			if r := call(t, strings.NewReader(text.String()), "append", name, "--batch", "50", "--redis", url); r.code != 0 {
				t.Errorf("exit %d: %s", r.code, r.err)
			}
		})
	}
	running.Wait()
	next := [writers]int{}
	for line := range strings.Lines(good(t, nil, "read", name, "--redis", url).out) {
		var w, i int
		if _, err := fmt.Sscan(line, &w, &i); err != nil || i != next[w] {
			t.Fatalf("%q where %v was to come: %v", line, next, err)
		}
		next[w]++
	}
	if next != [writers]int{lines, lines, lines, lines} {
		t.Errorf("%v lines came back", next)
	}
}

func TestAppendTooLong(t *testing.T) {
	url, _ := embedded(t)
	text := "1\n2\n" + strings.Repeat("x", maxRecord+1) + "\n4\n"
	r := call(t, strings.NewReader(text), "append", "a/b", "--redis", url)
	if s := summary(t, r); r.code != exitFailed || s.Records != 2 || s.Last != 2 || !strings.Contains(r.err, "line 3") {
		t.Errorf("exit %d, %+v\n%s", r.code, s, r.err)
	}
	if out := good(t, nil, "read", "a/b", "--redis", url).out; out != "1\n2\n" {
		t.Errorf("%q is stored", out)
	}
}

// TestAppendSlowly wants a line to be there while the input has not ended.
func TestAppendSlowly(t *testing.T) {
	url, _ := embedded(t)
	in, writer := io.Pipe()
	done := make(chan result, 1)
	go func() { done <- call(t, in, "append", "a/b", "--redis", url) }()
	for i := range 3 {
		if _, err := fmt.Fprintln(writer, i); err != nil {
			t.Fatal(err)
		}
		until(t, "record", func() bool {
			r := call(t, nil, "status", "a/b", "--redis", url)
			return strings.Contains(r.out, fmt.Sprintf(`"last_sequence":%d,`, i+1))
		})
	}
	_ = writer.Close()
	if r := <-done; r.code != 0 || summary(t, r).Records != 3 {
		t.Errorf("%+v", r)
	}
}

func TestAppendMissingFile(t *testing.T) {
	r := call(t, nil, "append", "a/b", "--file", "/nonexistent/file", "--redis", "redis://127.0.0.1:1")
	if r.code != exitFailed || !strings.Contains(r.err, "/nonexistent/file") || r.out != "" {
		t.Errorf("%+v", r)
	}
}

func TestAppendClosed(t *testing.T) {
	url, store := embedded(t)
	good(t, strings.NewReader("1\n"), "append", "a/b", "--redis", url)
	if _, err := store.CloseSegment(within(t), "a", "b", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil); err != nil {
		t.Fatal(err)
	}
	if r := call(t, strings.NewReader("2\n"), "append", "a/b", "--redis", url); r.code != exitFailed || r.out != "" {
		t.Errorf("%+v", r)
	}
}

// TestAppendSignal ends an append that waits for input: what it has read is stored and counted.
func TestAppendSignal(t *testing.T) {
	url := testredis.Shared(t).URL()
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitFailed} {
		name := fresh("signal") + "/1"
		p := start(t, nil, "append", name, "--redis", url)
		if _, err := io.WriteString(p.in, "whole\nhalf"); err != nil {
			t.Fatal(err)
		}
		until(t, "record", func() bool { return call(t, nil, "peek", name, "--redis", url).code == 0 })
		p.signal(signal)
		out, code := p.rest()
		if s := summary(t, result{out: out}); code != want || s.Records != 1 {
			t.Errorf("%v: exit %d, want %d, %+v", signal, code, want, s)
		}
		if got := good(t, nil, "read", name, "--redis", url).out; got != "whole\n" {
			t.Errorf("%v: %q is stored", signal, got)
		}
	}
}

// TestAppendOutage takes Redis away for longer than the hub tries by itself, dead and hung in turn:
// every line is there once, in order.
func TestAppendOutage(t *testing.T) {
	server := testredis.Start(t, &testredis.Options{AOF: "always"})
	url := server.URL()
	in, writer := io.Pipe()
	var out, errors buffer
	done := make(chan int, 1)
	go func() {
		done <- run(within(t), []string{"append", "a/b", "--batch", "10", "--redis", url}, in, &out, &errors, nil)
	}()
	defer context.AfterFunc(within(t), func() { _ = writer.CloseWithError(context.DeadlineExceeded) })()
	var want strings.Builder
	write := func(lines int) {
		for i := range lines {
			line := fmt.Sprintln("line", i)
			want.WriteString(line)
			if _, err := io.WriteString(writer, line); err != nil {
				t.Error(err)
			}
		}
	}
	arrived := func(last int) {
		t.Helper()
		until(t, "arrival", func() bool {
			r := call(t, nil, "status", "a/b", "--redis", url)
			return strings.Contains(r.out, fmt.Sprintf(`"last_sequence":%d,`, last))
		})
	}
	write(100)
	arrived(100) // nothing is on its way: what is written next fits into the command
	for i, fault := range []struct{ begin, end func() }{{server.Kill, server.Restart}, {server.Pause, server.Resume}} {
		reports := strings.Count(errors.String(), "trying again")
		fault.begin()
		write(5)
		until(t, "report", func() bool { return strings.Count(errors.String(), "trying again") > reports })
		fault.end()
		write(100)
		arrived(100 + 105*(i+1))
	}
	_ = writer.Close()
	code := <-done
	if s := summary(t, result{out: out.String()}); code != 0 || s.Records != 310 || s.Last != 310 {
		t.Errorf("exit %d, %+v\n%s", code, s, errors.String())
	}
	if got := good(t, nil, "read", "a/b", "--redis", url).out; got != want.String() {
		t.Errorf("%d bytes came back, want %d", len(got), want.Len())
	}
}
