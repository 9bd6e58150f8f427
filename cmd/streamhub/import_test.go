package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/internal/teststreamkit"
)

// TestImport brings two spaces, with one entry that is left out, and again, with nothing left to do.
func TestImport(t *testing.T) {
	redis, old, store := testredis.Start(t, nil), teststreamkit.Start(t, "secret"), uuid.New()
	for i := range 30 {
		old.Tick(time.Millisecond)
		old.Produce(store, fmt.Sprint("space-", i%2), fmt.Sprint("segment-", i%3), streamhub.Record{Payload: fmt.Appendf(nil, "entry %d", i)})
	}
	old.Tick(time.Millisecond)
	old.Replace(store, "space-1", "segment-0", 5, []byte("of the winner"))
	args := []string{"import", old.URL, "--store", store.String(), "--source-token", "secret", "--redis", redis.URL()}
	for _, imported := range []int{15, 0} {
		r := good(t, nil, args...)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		if len(lines) != 3 {
			t.Fatalf("%+v", r)
		}
		for i, want := range []map[string]any{
			{"space": "space-0", "segments": 3.0, "entries": 15.0, "imported": float64(imported), "left_out": 0.0, "later": 0.0},
			{"space": "space-1", "segment": "segment-0", "sequence": 5.0},
			{"space": "space-1", "segments": 3.0, "entries": 15.0, "imported": float64(imported), "left_out": 1.0, "later": 0.0},
		} {
			var have map[string]any
			if err := json.Unmarshal([]byte(lines[i]), &have); err != nil {
				t.Fatalf("%v: %s", err, lines[i])
			}
			for name, value := range want {
				if have[name] != value {
					t.Errorf("line %d: %s is %v, not %v: %s", i, name, have[name], value, lines[i])
				}
			}
		}
		if !strings.Contains(r.err, "2 spaces with 6 segments and 30 entries are equal") {
			t.Errorf("%+v", r)
		}
	}
	if r := good(t, nil, "read", "space-0/segment-0", "--store", store.String(), "--redis", redis.URL()); !strings.HasPrefix(r.out, "entry 0\nentry 6\n") {
		t.Errorf("%+v", r)
	}

	good(t, strings.NewReader("new\n"), "append", "space-0/segment-0", "--store", store.String(), "--redis", redis.URL())
	r := call(t, nil, args...)
	if r.code != exitConflict || !strings.Contains(r.err, `space "space-0", segment "segment-0", entry 6`) || !strings.Contains(r.out, `"space":"space-1"`) {
		t.Errorf("where the hub has an entry of its own: the others come all the same: %+v", r)
	}
	if r := good(t, nil, append(args, "space-1")...); strings.Contains(r.out, "space-0") {
		t.Errorf("one space: %+v", r)
	}
	for _, wrong := range [][]string{
		{"import", "http://localhost", "--redis", redis.URL()},
		{"import", old.URL},
	} {
		if r := call(t, nil, wrong...); r.code != exitUsage {
			t.Errorf("%q: %+v", wrong, r)
		}
	}
	if r := call(t, nil, "import", old.URL, "--source-token", "another", "--redis", redis.URL()); r.code != exitFailed || !strings.Contains(r.err, "token") {
		t.Errorf("another token: %+v", r)
	}
}
