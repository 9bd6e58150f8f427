package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

const (
	releasesDir = "testdata/releases"
	// next is the release that is being made. Until it is out, -update writes its fixtures again; afterwards they stay
	// as they are, and the next release gets a directory of its own.
	next = "0.1.0"
)

// A releaseLayout is what a release has left in Redis, and what must be read from it.
type releaseLayout struct {
	Keys     []releaseKey
	Segments []releaseSegment
}

// A releaseKey is one key of Redis, with its content as pairs.
type releaseKey struct {
	Key, Type string
	Content   [][]byte
}

type releaseSegment struct {
	Name     string
	Payloads []string // of what is left of it
	Resume   string   // cursor after the first of them
	Verdict  string   // "" if it is open
	Next     uint64   // sequence of the next append
}

// TestReleases reads what each release has left: in Redis, in miniredis, and in an archive. internal/wire/testdata holds
// the messages.
func TestReleases(t *testing.T) {
	if *update {
		writeRelease(t, filepath.Join(releasesDir, next))
	}
	releases, err := os.ReadDir(releasesDir)
	if err != nil || len(releases) == 0 {
		t.Fatal("no releases", err)
	}
	for _, release := range releases {
		dir := filepath.Join(releasesDir, release.Name())
		text, err := os.ReadFile(filepath.Join(dir, "layout.json"))
		if err != nil {
			t.Fatal(err)
		}
		var layout releaseLayout
		if err := json.Unmarshal(text, &layout); err != nil {
			t.Fatal(err)
		}
		t.Run(release.Name()+"/Redis", func(t *testing.T) {
			url := testredis.Start(t, nil).URL()
			layout.load(t, url)
			layout.check(t, url)
		})
		t.Run(release.Name()+"/miniredis", func(t *testing.T) {
			url, _ := embedded(t)
			layout.load(t, url)
			layout.check(t, url)
		})
		t.Run(release.Name()+"/archive", func(t *testing.T) {
			cold := filepath.Join(t.TempDir(), "cold")
			if err := os.CopyFS(cold, os.DirFS(filepath.Join(dir, "archive"))); err != nil {
				t.Fatal(err)
			}
			url := testredis.Start(t, nil).URL()
			good(t, nil, "archive", "verify", "--archive", "pebble://"+cold)
			good(t, nil, "archive", "restore", "--archive", "pebble://"+cold, "--redis", url)
			s := serve(t, "--redis", url, "--archive", "pebble://"+cold)
			if r := good(t, nil, "read", "cold/log", "--server", s.ws()); r.out != "one\ntwo\nthree\n" {
				t.Errorf("%+v", r)
			}
			if r := good(t, strings.NewReader("four\n"), "append", "cold/log", "--server", s.ws()); !strings.Contains(r.out, `"first":4,`) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func (l *releaseLayout) check(t *testing.T, url string) {
	t.Helper()
	for _, segment := range l.Segments {
		if r := good(t, nil, "read", segment.Name, "--redis", url); r.out != strings.Join(segment.Payloads, "\n")+"\n" {
			t.Errorf("%s: %+v, want %q", segment.Name, r, segment.Payloads)
		}
		if r := good(t, nil, "read", segment.Name, "--from", segment.Resume, "--redis", url); r.out != strings.Join(append(segment.Payloads[1:], ""), "\n") {
			t.Errorf("%s after the first: %+v, want %q", segment.Name, r, segment.Payloads[1:])
		}
		r := call(t, strings.NewReader("more\n"), "append", segment.Name, "--redis", url)
		switch {
		case segment.Verdict != "":
			if status := good(t, nil, "status", segment.Name, "--json", "--redis", url); r.code == 0 || !strings.Contains(status.out, segment.Verdict) {
				t.Errorf("%s: %+v, %+v; want a closed segment, %s", segment.Name, r, status, segment.Verdict)
			}
		case r.code != 0:
			t.Errorf("%s: %+v", segment.Name, r)
		default:
			var result struct{ First uint64 }
			if err := json.Unmarshal([]byte(r.out), &result); err != nil || result.First != segment.Next {
				t.Errorf("%s: %+v, %v; want sequence %d", segment.Name, r, err, segment.Next)
			}
		}
	}
}

// load writes the keys as they were.
func (l *releaseLayout) load(t *testing.T, url string) {
	t.Helper()
	client := newRedis(t, url)
	ctx := within(t)
	for _, key := range l.Keys {
		var err error
		pairs := func(each func(a, b []byte) error) {
			for pair := range slices.Chunk(key.Content, 2) {
				err = errors.Join(err, each(pair[0], pair[1]))
			}
		}
		switch key.Type {
		case "string":
			err = client.Set(ctx, key.Key, key.Content[0], 0).Err()
		case "hash":
			pairs(func(field, value []byte) error { return client.HSet(ctx, key.Key, string(field), value).Err() })
		case "zset":
			pairs(func(member, score []byte) error { return client.Do(ctx, "ZADD", key.Key, score, member).Err() })
		case "set":
			for _, member := range key.Content {
				err = errors.Join(err, client.SAdd(ctx, key.Key, member).Err())
			}
		case "stream": // ids and JSON of the fields with their values
			pairs(func(id, text []byte) error {
				var fields [][]byte
				if err := json.Unmarshal(text, &fields); err != nil {
					return err
				}
				args := []any{"XADD", key.Key, id}
				for _, field := range fields {
					args = append(args, field)
				}
				return client.Do(ctx, args...).Err()
			})
		default:
			t.Fatalf("%s is a %s", key.Key, key.Type)
		}
		if err != nil {
			t.Fatalf("%s: %v", key.Key, err)
		}
	}
}

func newRedis(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := hub.NewClient(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// writeRelease makes the fixtures of this code.
func writeRelease(t *testing.T, dir string) {
	t.Helper()
	url := testredis.Start(t, nil).URL()
	do := func(in string, args ...string) {
		t.Helper()
		good(t, strings.NewReader(in), append(args, "--redis", url)...)
	}
	do("one\ntwo\nthree\n", "append", "old/plain")
	do("four\nfive\n", "append", "old/plain", "--batch", "1")
	do("a\nb\nc\n", "append", "old/trimmed", "--batch", "1")
	do("", "trim", "old/trimmed", "--to", "1", "--yes")
	do("", "create", "old/closed", "--content-type", "text/plain")
	do("x\ny\n", "append", "old/closed")
	do("", "close", "old/closed", "--verdict", "failed", "--reason", "out of paper")
	do("", "fork", "old/plain", "old/forked", "--at", "2")
	do("branch\n", "append", "old/forked")
	layout := &releaseLayout{Segments: []releaseSegment{
		{Name: "old/plain", Payloads: []string{"one", "two", "three", "four", "five"}, Next: 6},
		{Name: "old/trimmed", Payloads: []string{"b", "c"}, Next: 4},
		{Name: "old/closed", Payloads: []string{"x", "y"}, Verdict: "out of paper"},
		{Name: "old/forked", Payloads: []string{"one", "two", "branch"}, Next: 4},
	}}
	for i := range layout.Segments {
		s := &layout.Segments[i]
		s.Resume = cursorOf(t, good(t, nil, "read", s.Name, "--limit", "1", "--redis", url))
	}
	layout.Keys = dumpKeys(t, within(t), newRedis(t, url))

	cold := filepath.Join(t.TempDir(), "cold")
	do("one\ntwo\n", "append", "cold/log")
	do("three\n", "append", "cold/log")
	good(t, nil, "archive", "run", "--once", "--archive", "pebble://"+cold, "--archive-age", "1ms", "--archive-keep", "0", "--redis", url)

	text, err := json.MarshalIndent(layout, "", " ")
	if err == nil {
		err = errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "layout.json"), append(text, '\n'), 0o644),
			os.CopyFS(filepath.Join(dir, "archive"), os.DirFS(cold)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func dumpKeys(t *testing.T, ctx context.Context, client redis.UniversalClient) (keys []releaseKey) {
	t.Helper()
	names, err := client.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		kind, err := client.Type(ctx, name).Result()
		if err != nil {
			t.Fatal(err)
		}
		key := releaseKey{Key: name, Type: kind}
		add := func(texts ...string) {
			for _, text := range texts {
				key.Content = append(key.Content, []byte(text))
			}
		}
		switch kind {
		case "string":
			var text string
			text, err = client.Get(ctx, name).Result()
			add(text)
		case "hash":
			var hash map[string]string
			hash, err = client.HGetAll(ctx, name).Result()
			for _, field := range slices.Sorted(maps.Keys(hash)) {
				add(field, hash[field])
			}
		case "zset":
			var flat []any
			flat, err = client.Do(ctx, "ZRANGE", name, 0, -1, "WITHSCORES").Slice()
			for _, item := range flat {
				if pair, ok := item.([]any); ok { // RESP3
					add(pair[0].(string), jsonText(t, pair[1]))
				}
			}
		case "set":
			var members []string
			members, err = client.SMembers(ctx, name).Result()
			slices.Sort(members)
			add(members...)
		case "stream":
			var entries []redis.XMessage
			entries, err = client.XRange(ctx, name, "-", "+").Result()
			for _, entry := range entries {
				var fields [][]byte
				raw, _ := client.Do(ctx, "XRANGE", name, entry.ID, entry.ID).Slice()
				for _, field := range raw[0].([]any)[1].([]any) {
					fields = append(fields, []byte(field.(string)))
				}
				add(entry.ID, jsonText(t, fields))
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		keys = append(keys, key)
	}
	return keys
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
