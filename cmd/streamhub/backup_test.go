package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestBackup restores a backup of Redis as docs/operations.md says: what is older goes on, what is newer is known to be lost.
func TestBackup(t *testing.T) {
	redis := testredis.Start(t, nil)
	url := redis.URL()
	good(t, strings.NewReader("1\n2\n3\n"), "append", "a/b", "--redis", url)
	old := cursorOf(t, good(t, nil, "read", "a/b", "--limit", "2", "--redis", url))
	client := redis.Client()
	if err := client.Save(within(t)).Err(); err != nil {
		t.Fatal(err)
	}
	dump := filepath.Join(redis.Dir(), "dump.rdb")
	backup, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	good(t, strings.NewReader("4\n5\n"), "append", "a/b", "--redis", url)
	lost := cursorOf(t, good(t, nil, "read", "a/b", "--redis", url))

	redis.Stop()
	if err := os.WriteFile(dump, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	redis.Restart()
	if r := good(t, nil, "read", "a/b", "--from", old, "--redis", url); r.out != "3\n" {
		t.Errorf("a cursor from before the backup: %+v", r)
	}
	if r := call(t, nil, "read", "a/b", "--from", lost, "--redis", url); r.code != exitHistory || r.out != "" || !strings.Contains(r.err, "4") {
		t.Errorf("a cursor from after the backup: %+v", r)
	}
	good(t, strings.NewReader("four again\n"), "append", "a/b", "--redis", url)
	if r := good(t, nil, "read", "a/b", "--from", old, "--redis", url); r.out != "3\nfour again\n" {
		t.Errorf("after the restore: %+v", r)
	}
	if r := call(t, nil, "read", "a/b", "--from", lost, "--redis", url); r.code != exitHistory {
		t.Errorf("a cursor from after the backup, later: %+v", r)
	}
}

// TestArchiveRestore brings an archive back into an empty Redis, from a copy of its directory.
func TestArchiveRestore(t *testing.T) {
	redis := testredis.Start(t, nil)
	url, cold := redis.URL(), filepath.Join(t.TempDir(), "cold")
	good(t, strings.NewReader("1\n2\n3\n"), "append", "a/b", "--redis", url)
	good(t, nil, "archive", "run", "--archive", "pebble://"+cold, "--archive-age", "1ms", "--archive-keep", "0", "--once", "--redis", url)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(cold)); err != nil {
		t.Fatal(err)
	}
	redis.RestartEmpty()
	good(t, nil, "archive", "verify", "--archive", "pebble://"+copied)
	good(t, nil, "archive", "restore", "--archive", "pebble://"+copied, "--redis", url)
	s := serve(t, "--redis", url, "--archive", "pebble://"+copied)
	if r := good(t, nil, "read", "a/b", "--server", s.ws()); r.out != "1\n2\n3\n" {
		t.Errorf("%+v", r)
	}
}

// TestCapacity compares the figures of the calculator with those of the benchmarks.
func TestCapacity(t *testing.T) {
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	benchmarks, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(operations), "## Capacity\n")
	rows := regexp.MustCompile(`(?m)^\| (?:memory|CPU) of [^|]*\| ([\d.]+) (B|µs|KiB) \| ([^|]+) \|$`).FindAllStringSubmatch(section, -1)
	if len(rows) != 5 {
		t.Fatalf("%q", rows)
	}
	for _, row := range rows {
		_, after, ok := strings.Cut(string(benchmarks), "| "+row[3])
		if !ok {
			t.Errorf("the benchmarks have no row %q", row[3])
			continue
		}
		_, ours, ok := strings.Cut(after, "**streamhub")
		line, _, _ := strings.Cut(ours, "\n")
		if !ok || !strings.Contains(line, "| "+row[1]+" ") {
			t.Errorf("%s: the benchmarks say %q, the calculator %s", row[3], line, row[1])
		}
	}
}
