package redisbin

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	program := func(dir, name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := func(named, path string) {
		t.Helper()
		if got, err := Find(named); got != path || err != nil {
			t.Fatalf("Find(%q) = %q, %v, want %q", named, got, err, path)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv(Variable, "")
	if _, err := Find(""); !errors.Is(err, ErrNotInstalled) {
		t.Fatalf("nothing is installed: %v", err)
	}
	valkey := program(dir, "valkey-server")
	want("", valkey)
	redis := program(dir, "redis-server")
	want("", redis)
	want("valkey-server", valkey)
	mine := program(other, "mine")
	t.Setenv(Variable, mine)
	want("", mine)
	want("redis-server", redis)
	t.Setenv(Variable, "nothing-of-this-name")
	if path, err := Find(""); err == nil || errors.Is(err, ErrNotInstalled) {
		t.Fatalf("a program that was named is not replaced: %q, %v", path, err)
	}
}
