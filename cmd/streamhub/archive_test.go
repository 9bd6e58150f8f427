package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestArchive moves a log out of Redis, reads it through, loses Redis, and brings it back into
// another one.
func TestArchive(t *testing.T) {
	server := testredis.Start(t, nil)
	dir := filepath.Join(t.TempDir(), "cold")
	cold := []string{"--archive", "pebble://" + dir}
	on := func(address string, args ...string) []string { return append(args, "--redis", address) }
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, "line %d ünï\r\n", i)
	}
	good(t, strings.NewReader(lines.String()), on(server.URL(), "append", "logs/app", "--batch", "50")...)

	due := append(cold, "--archive-age", "1ms", "--archive-keep", "10", "--once")
	if r := good(t, nil, on(server.URL(), append([]string{"archive", "run"}, due...)...)...); !strings.Contains(r.out, `"entries":5000`) {
		t.Errorf("%+v", r)
	}
	if r := call(t, nil, on(server.URL(), "read", "logs/app")...); r.code != exitFailed || !strings.Contains(r.err, "without the archive") {
		t.Errorf("read without the archive: %+v", r)
	}
	for _, follow := range [][]string{nil, {"--follow", "--limit", "5000"}} {
		if r := good(t, nil, append(on(server.URL(), append([]string{"read", "logs/app"}, follow...)...), cold...)...); r.out != lines.String() {
			t.Errorf("read %v: %d bytes, want %d", follow, len(r.out), lines.Len())
		}
	}
	if r := good(t, nil, append([]string{"archive", "ls"}, cold...)...); !strings.Contains(r.out, `"space":"logs","entries":5000`) {
		t.Errorf("%+v", r)
	}
	if r := good(t, nil, append([]string{"archive", "verify", "logs"}, cold...)...); !strings.Contains(r.out, `"damaged":0`) || !strings.Contains(r.out, `"entries":5000`) {
		t.Errorf("%+v", r)
	}
	if r := call(t, nil, append([]string{"archive", "verify", "none"}, cold...)...); r.code != exitFailed {
		t.Errorf("%+v", r)
	}
	if r := call(t, nil, append(on(server.URL(), "archive", "restore"), cold...)...); r.code != exitConflict || !strings.Contains(r.err, "not empty") {
		t.Errorf("restore into a Redis that has it: %+v", r)
	}

	// What comes now is lost with Redis.
	late := good(t, strings.NewReader("late\n"), append(on(server.URL(), "append", "logs/app"), cold...)...)
	_, cursor, _ := strings.Cut(late.out, `"cursor":"`)
	cursor, _, _ = strings.Cut(cursor, `"`)
	server.Kill()
	other := testredis.Start(t, nil)
	if r := good(t, nil, append(on(other.URL(), "archive", "restore"), cold...)...); !strings.Contains(r.out, `"entries":5000`) {
		t.Errorf("%+v", r)
	}
	if r := good(t, nil, append(on(other.URL(), "read", "logs/app"), cold...)...); r.out != lines.String() {
		t.Errorf("%d bytes, want %d", len(r.out), lines.Len())
	}
	if r := call(t, nil, append(on(other.URL(), "read", "logs/app", "--from", cursor), cold...)...); r.code != exitHistory {
		t.Errorf("a cursor of what was lost: %+v", r)
	}
	if r := good(t, strings.NewReader("next\n"), append(on(other.URL(), "append", "logs/app", "--expect", "5001"), cold...)...); !strings.Contains(r.out, `"first":5001`) {
		t.Errorf("%+v", r)
	}
	if r := call(t, nil, append(on(other.URL(), "read", "logs/app", "--from", cursor), cold...)...); r.code != exitHistory {
		t.Errorf("a cursor of what was lost, and taken again: %+v", r)
	}
}

// TestServeArchive has the gateway archive, and stops archiving cleanly with it.
func TestServeArchive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cold")
	s := serve(t, "--archive", "pebble://"+dir, "--archive-age", "1ms", "--archive-keep", "0")
	good(t, strings.NewReader("a\nb\n"), "append", "s/x", "--server", s.ws())
	if r := call(t, nil, "archive", "ls", "--archive", "pebble://"+dir); r.code != exitFailed || !strings.Contains(r.err, "another process") {
		t.Errorf("a second process on the same directory: %+v", r)
	}
	if r := good(t, nil, "read", "s/x", "--server", s.ws()); r.out != "a\nb\n" {
		t.Errorf("%+v", r)
	}
	s.end(syscall.SIGTERM)
	good(t, nil, "archive", "ls", "--archive", "pebble://"+dir)
}

// TestDeleteStoreArchived removes a store whose history lies in the archive, through a gateway and without one, and
// leaves the other store alone.
func TestDeleteStoreArchived(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cold")
	cold := []string{"--archive", "pebble://" + dir}
	server := testredis.Start(t, nil)
	const store, kept = "11111111-2222-4333-8444-555555555555", "11111111-2222-4333-8444-666666666666"
	fill := func(to ...string) {
		for _, id := range []string{store, kept} {
			good(t, strings.NewReader("a\nb\n"), append([]string{"append", "s/x", "--store", id}, to...)...)
		}
	}
	verify := func(code int, id string) {
		t.Helper()
		if r := call(t, nil, append([]string{"archive", "verify", "--store", id}, cold...)...); r.code != code || code == 0 && !strings.Contains(r.out, `"entries":2`) {
			t.Errorf("%+v", r)
		}
	}
	on := []string{"--redis", server.URL()}
	move := func() {
		good(t, nil, append(append([]string{"archive", "run", "--once", "--archive-age", "1ms", "--archive-keep", "0"}, on...), cold...)...)
	}
	fill(on...)
	move()
	verify(0, store)
	if r := call(t, nil, append([]string{"delete", "--yes", "--store", store}, on...)...); r.code != exitFailed || !strings.Contains(r.err, "archive") {
		t.Errorf("without the archive: %+v", r)
	}
	if r := call(t, nil, append([]string{"delete", "--yes", "--store", store, "--archive", "pebble://" + dir + "x"}, on...)...); r.code != exitFailed || !strings.Contains(r.err, "there is no archive in") {
		t.Errorf("another archive: %+v", r)
	}
	if r := good(t, nil, append(append([]string{"delete", "--yes", "--store", store}, on...), cold...)...); !strings.Contains(r.out, `"spaces":1`) {
		t.Errorf("%+v", r)
	}
	verify(exitFailed, store)
	verify(0, kept)

	fill(on...)
	move()
	s := serve(t, append(append(on, cold...), "--archive-age", "1ms", "--archive-keep", "0")...)
	if r := good(t, nil, "delete", "--yes", "--store", store, "--server", s.ws()); !strings.Contains(r.out, `"segments":1,"spaces":1`) {
		t.Errorf("%+v", r)
	}
	s.end(syscall.SIGTERM)
	verify(exitFailed, store)
	if r := good(t, nil, append([]string{"archive", "ls"}, cold...)...); strings.Contains(r.out, store) || !strings.Contains(r.out, kept) {
		t.Errorf("%+v", r)
	}
	if r := good(t, nil, append([]string{"ls", "--store", store}, on...)...); r.out != "" {
		t.Errorf("%+v", r)
	}
}

// TestArchiveMistyped names a directory that holds no archive.
func TestArchiveMistyped(t *testing.T) {
	empty := t.TempDir()
	for _, dir := range []string{empty, filepath.Join(empty, "none", "such")} {
		for _, args := range [][]string{{"ls"}, {"verify"}, {"restore", "--redis", "redis://127.0.0.1:1"}} {
			r := call(t, nil, append(append([]string{"archive"}, args...), "--archive", "pebble://"+dir)...)
			if r.code != exitFailed || r.out != "" || !strings.Contains(r.err, "there is no archive in "+dir) || strings.Count(r.err, "\n") != 1 {
				t.Errorf("%v of %q: %+v", args, dir, r)
			}
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("%v was made, %v", left, err)
	}
}

func TestArchiveFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitUsage, []string{"archive", "ls"}},
		{exitUsage, []string{"archive", "ls", "--archive", "file:///x"}},
		{exitUsage, []string{"archive", "ls", "--archive", "pebble://host/x"}},
		{exitUsage, []string{"archive", "ls", "--archive", "azure:///x"}},
		{exitFailed, []string{"archive", "ls", "--archive", "pebble://" + file}},
		{exitUsage, []string{"archive", "ls", "--archive", "azure://account/Bad_Prefix"}},
		{exitUsage, []string{"archive", "run", "--archive", "pebble://" + filepath.Dir(file), "--redis", "redis://127.0.0.1:1"}},
		{exitUsage, []string{"archive", "run", "--archive", "pebble://" + file}},
		{exitUsage, []string{"archive", "run", "--archive", "pebble://" + file, "--redis", "redis://127.0.0.1:1", "--archive-hot-bytes", "many"}},
		{exitUsage, []string{"archive", "run", "--archive", "pebble://" + file, "--redis", "redis://127.0.0.1:1", "--archive-age", "-1s"}},
		{exitUsage, []string{"read", "s/x", "--server", "ws://127.0.0.1:1", "--archive", "pebble://" + file}},
	} {
		if r := call(t, nil, c.args...); r.code != c.code || r.out != "" {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}
