package localredis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReads(t *testing.T) {
	for _, test := range []struct {
		now, wrote string
		want       bool
	}{
		{"Redis 7.0.15", "Redis 7.0.15", true},
		{"Redis 8.0.6", "Redis 7.0.15", true},
		{"Redis 8.0.2", "Redis 8.0.6", true},
		{"Redis 7.2.4", "Redis 8.0.6", false},
		{"Valkey 9.1.2", "Redis 8.0.6", false},
		{"Valkey 9.1.2", "Redis 7.0.15", true},
		{"Valkey 9.1.2", "Valkey 8.1.1", true},
		{"Redis 8.0.6", "Valkey 9.1.2", false},
		{"Redis 8.0.6", "Valkey 8.1.1", true},
		{"Redis 7.0.15", "Valkey 8.1.1", false},
	} {
		now, err := parseMaker(test.now)
		if err != nil {
			t.Fatal(err)
		}
		wrote, err := parseMaker(test.wrote + "\n")
		if err != nil || wrote.String() != test.wrote {
			t.Fatalf("%v, %v", wrote, err)
		}
		if got := now.reads(wrote); got != test.want {
			t.Errorf("%s reads what %s wrote: %v", now, wrote, got)
		}
	}
}

// TestMarker refuses a directory of another product before anything is started, with both names.
func TestMarker(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(t.TempDir(), "server")
	is := func(line string) {
		t.Helper()
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+line+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	is("Redis server v=8.0.6 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0")
	if err := checkMarker(t.Context(), dir, program); err != nil {
		t.Fatalf("an empty directory: %v", err)
	}
	if err := mark(t.Context(), dir, program); err != nil {
		t.Fatal(err)
	}
	if err := checkMarker(t.Context(), dir, program); err != nil {
		t.Fatal(err)
	}
	is("Valkey server v=9.1.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0")
	err := checkMarker(t.Context(), dir, program)
	if err == nil || !strings.Contains(err.Error(), "Redis 8.0.6") || !strings.Contains(err.Error(), "Valkey 9.1.2") {
		t.Fatalf("another product: %v", err)
	}
	is("something else")
	if err := checkMarker(t.Context(), dir, program); err == nil {
		t.Fatal("no version")
	}
}
