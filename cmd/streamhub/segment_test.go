package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A step is a run of the program and what comes of it.
type step struct {
	in, args, out, err string // out and err are parts of what is written; "-" is nothing at all
	code               int
}

func (st step) run(t *testing.T, to ...string) {
	t.Helper()
	r := call(t, strings.NewReader(st.in), append(strings.Fields(st.args), to...)...)
	holds := func(got, want string) bool {
		return want == "-" && got == "" || want != "-" && strings.Contains(got, want)
	}
	if r.code != st.code || !holds(r.out, st.out) || !holds(r.err, st.err) {
		t.Errorf("%s %v: %+v; want exit %d, %q, %q", st.args, to, r, st.code, st.out, st.err)
	}
}

// TestOneLine quotes what a terminal would take for a command.
func TestOneLine(t *testing.T) {
	for name, want := range map[string]string{
		"plain": "plain", "é😀": "é😀", "👩\u200d💻": "👩\u200d💻", "a\nb": `"a\nb"`, "\x1b[31m": `"\x1b[31m"`,
		"\x9b31m": `"\x9b31m"`, "\u009b31m": `"\u009b31m"`, "\xff": `"\xff"`, "a\u202eb": `"a\u202eb"`,
	} {
		if got := oneLine(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// TestSegmentCommands makes, forks, trims, closes and deletes through a gateway and on the Redis itself.
func TestSegmentCommands(t *testing.T) {
	server := testredis.Start(t, nil)
	s := serve(t, "--redis", server.URL())
	for i, to := range [][]string{{"--server", s.ws()}, {"--redis", server.URL()}} {
		store := []string{"11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"}[i]
		for _, st := range []step{
			{args: "create a/made --content-type text/plain --ttl 1h", out: `"content_type":"text/plain","expires_at":`},
			{args: "create a/made --content-type text/plain --ttl 1h", out: `"ttl":3600000`, err: "there already"},
			{args: "create a/made --ttl 2h", code: exitConflict, out: "-"},
			{args: "create b/empty", out: `"state":"open"`},
			{args: "status b/empty", code: exitFailed, out: "-", err: "keeps no entry; it is open"},
			{args: "peek b/empty", code: exitFailed, out: "-", err: "keeps no entry"},
			{args: "close b/empty --verdict failed --reason why", out: `"kind":"failed"`},
			{args: "status b/empty", code: exitFailed, out: "-", err: "it is closed as failed: why"},
			{args: "append b/trimmed", in: "1\n", out: `"last":1`},
			{args: "trim b/trimmed --to 1 --yes", out: `"first_kept":2`},
			{args: "trim b/trimmed --to 99 --yes", out: `"first_kept":2`, err: "-"},
			{args: "status b/trimmed", code: exitFailed, out: "-", err: "keeps no entry; it is open"},
			{args: "peek b/trimmed", code: exitFailed, out: "-", err: "keeps no entry"},
			{args: "delete b/trimmed --yes", out: `"segments":1`},
			{args: "status b/trimmed", code: exitFailed, out: "-", err: "was removed (deleted)"},
			{args: "peek b/trimmed", code: exitFailed, out: "-", err: "was removed (deleted)"},
			{args: "status b/none", code: exitFailed, out: "-", err: "there is no segment"},
			{args: "peek b/none", code: exitFailed, out: "-", err: "there is no segment"},
			{args: "delete b/empty --yes", out: `"segments":1`},
			{args: "append a/log --batch 1", in: "1\n2\n3\n4\n", out: `"last":4`},
			{args: "fork a/log a/copy --at 2", out: `"last_sequence":2`},
			{args: "fork a/log a/all", out: `"last_sequence":4`},
			{args: "fork a/log b/copy", code: exitUsage, out: "-", err: "a/copy"},
			{args: "fork a/never a/copy2", code: exitFailed, out: "-", err: `the segment "never" that it is to fork: not found`},
			{args: "trim a/log --to 2", code: exitUsage, out: "-", err: "--yes"},
			{args: "trim a/log --to 2 --yes", code: exitConflict, out: "-", err: "a fork reads the entries"},
			{args: "append b/log --batch 1", in: "1\n2\n3\n4\n", out: `"last":4`},
			{args: "trim b/log --to 2 --yes", out: `{"space":"b","segment":"log","first_kept":3}`},
			{args: "trim a/never --to 2 --yes", code: exitFailed, out: "-", err: "not found"},
			{args: "trim a/log --to 0 --yes", code: exitUsage, out: "-", err: "--to 0"},
			{args: "read b/log", out: "3\n4\n"},
			{args: "append a/frame", in: "1\n2\n3\n", out: `"last":3`},
			{args: "trim a/frame --to 2 --yes", out: `"first_kept":1`, err: "entries 1 to 2 stay"},
			{args: "close a/log --verdict failed --reason timeout", out: `{"space":"a","segment":"log","last_sequence":4,"verdict":{"kind":"failed","reason":"timeout"},"cursor":"`},
			{args: "close a/log", code: exitFailed, out: "-", err: "closed"},
			{args: "close a/never", code: exitFailed, out: "-", err: "there is no segment"},
			{args: "close a/log --verdict happy", code: exitUsage, out: "-", err: "done"},
			{args: "append a/log", in: "5\n", code: exitFailed, out: "-", err: "closed"},
			{args: "expire a/copy 1h", out: `{"space":"a","segment":"copy","expires_at":1`},
			{args: "status a/copy", out: `"expires_at":1`},
			{args: "expire a/copy 0", out: `"expires_at":0}`},
			{args: "expire a/never 1h", code: exitFailed, out: "-", err: "not found"},
			{args: "expire a/copy soon", code: exitUsage, out: "-", err: "duration"},
			{args: "expire a/copy 1us", code: exitUsage, out: "-", err: "time to live"},
			{args: "delete a/log", code: exitUsage, out: "-", err: "--yes"},
			{args: "delete a/log --yes --reason old", out: `{"space":"a","segment":"log","segments":1}`},
			{args: "delete a/never --yes", code: exitFailed, out: "-", err: "not found"},
			{args: "delete a", code: exitUsage, out: "-", err: "--yes"},
			{args: "delete a --yes", out: `{"space":"a","segments":4}`},
			{args: "delete a --yes", code: exitFailed, out: "-", err: "no segments"},
			{args: "delete never --yes", code: exitFailed, out: "-", err: "never was"},
			{args: "ls a", out: "-"},
			{args: "delete b/log --yes", out: `"segments":1`},
		} {
			st.run(t, append(to, "--store", store)...)
			if t.Failed() {
				t.FailNow()
			}
		}
		step{args: "delete --yes", code: exitUsage, out: "-", err: "--store"}.run(t, to...)
		for _, name := range []string{"a/1", "b/1", "b/2"} {
			step{args: "append " + name, in: "x\n", out: "cursor"}.run(t, append(to, "--store", store)...)
		}
		step{args: "append keep/1", in: "x\n", out: "cursor"}.run(t, to...)
		step{args: "delete", code: exitUsage, out: "-", err: "--yes"}.run(t, append(to, "--store", store)...)
		step{args: "delete --yes", out: `{"store":"` + store + `","segments":3,"spaces":2,"leases":0,"subscriptions":0}`}.run(t, append(to, "--store", store)...)
		step{args: "ls", out: "-"}.run(t, append(to, "--store", store)...)
		step{args: "ls b", out: "-"}.run(t, append(to, "--store", store)...)
		step{args: "ls keep", out: "1\n"}.run(t, to...)
	}
}

// TestConfirm has a question answered.
func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "": false, "delete\n": false} {
		var out strings.Builder
		err := yes(t.Context(), strings.NewReader(answer), &out, "delete it")
		if (err == nil) != want || !strings.Contains(out.String(), "this will delete it. Go on? [y/N]") {
			t.Errorf("%q: %v, %s", answer, err, out.String())
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	cancel(errors.New("stopped"))
	if err := yes(ctx, r, io.Discard, "delete it"); err == nil || err.Error() != "stopped" {
		t.Error(err)
	}
}
