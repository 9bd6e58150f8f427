package archivetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

var backendCases = []namedCase{
	{"PutOnce", putOnce},
	{"PutSizes", putSizes},
	{"PutMany", putMany},
	{"ListPages", listPages},
	{"Delete", remove},
	{"SpacesApart", spacesApart},
	{"LongKeys", longKeys},
}

func putOnce(f *fixture) {
	_, err := f.Get(f.ctx, f.space, "a!1")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	f.put("a!1", []byte("one"))
	f.put("a!1", []byte("one"))
	err = f.Put(f.ctx, f.space, archive.Object{Key: "a!1", Data: []byte("two")})
	require.ErrorIs(f, err, streamhub.ErrConflict)
	err = f.Put(f.ctx, f.space, archive.Object{Key: "a!1", Data: []byte("on")})
	require.ErrorIs(f, err, streamhub.ErrConflict)
	data, err := f.Get(f.ctx, f.space, "a!1")
	require.NoError(f, err)
	require.Equal(f, "one", string(data))
	data[0] = 'x' // the caller owns the bytes and may change them
	data, err = f.Get(f.ctx, f.space, "a!1")
	require.NoError(f, err)
	require.Equal(f, "one", string(data))
}

// putSizes uses sizes around the limits of backends: a property, an entity, a block.
func putSizes(f *fixture) {
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{1, 65535, 65536, 65537, 700_000, 1 << 20, 1<<20 + 1, 5 << 20, 20 << 20} {
		data := make([]byte, size)
		_, _ = random.Read(data)
		key := fmt.Sprintf("size!%08d", size)
		f.put(key, data)
		f.put(key, data)
		got, err := f.Get(f.ctx, f.space, key)
		require.NoError(f, err)
		require.True(f, bytes.Equal(data, got), "%d bytes", size)
		items, err := f.List(f.ctx, f.space, key, "", 2)
		require.NoError(f, err)
		require.Equal(f, []archive.Item{{Key: key, Size: int64(size)}}, items)
		data[size/2] ^= 1
		require.ErrorIs(f, f.Put(f.ctx, f.space, archive.Object{Key: key, Data: data}), streamhub.ErrConflict)
		require.NoError(f, f.Delete(f.ctx, f.space, key))
		_, err = f.Get(f.ctx, f.space, key)
		require.ErrorIs(f, err, streamhub.ErrNotFound)
	}
}

func putMany(f *fixture) {
	var objects []archive.Object
	var want []string
	for i := range 450 {
		o := archive.Object{Key: fmt.Sprintf("many!%03d", i), Data: bytes.Repeat([]byte{byte(i)}, 1+i*20)}
		want = append(want, o.Key)
		objects = append(objects, o)
	}
	rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	require.NoError(f, f.Put(f.ctx, f.space, objects[:200]...))
	require.NoError(f, f.Put(f.ctx, f.space, objects...), "those that are there are repeats")
	require.NoError(f, f.Put(f.ctx, f.space), "nothing")
	require.Equal(f, want, f.keys("many!", 100))
	for _, o := range objects[:50] {
		data, err := f.Get(f.ctx, f.space, o.Key)
		require.NoError(f, err)
		require.Equal(f, o.Data, data)
	}
	// One conflicting object must not hide the others.
	bad := slices.Clone(objects[:10])
	bad[5].Data = []byte("other")
	require.ErrorIs(f, f.Put(f.ctx, f.space, bad...), streamhub.ErrConflict)
	require.NoError(f, f.Delete(f.ctx, f.space, want...))
	require.Empty(f, f.keys("many!", 100))
}

func listPages(f *fixture) {
	var want []string
	for i := range 26 {
		for _, kind := range []string{"s", "t"} {
			key := kind + "!" + string(rune('A'+i)) + "!x"
			f.put(key, []byte(key))
			if kind == "s" {
				want = append(want, key)
			}
		}
	}
	for _, limit := range []int{1, 7, 26, 1000} {
		require.Equal(f, want, f.keys("s!", limit))
	}
	require.Equal(f, []string{"s!C!x"}, f.keys("s!C!", 5))
	require.Empty(f, f.keys("s!C!xx", 5))
	items, err := f.List(f.ctx, f.space, "s!", "s!C!~", 2)
	require.NoError(f, err)
	require.Len(f, items, 2)
	require.Equal(f, "s!D!x", items[0].Key)
	items, err = f.List(f.ctx, f.space, "s!B", "s!C!x", 2)
	require.NoError(f, err)
	require.Empty(f, items, "after lies beyond the prefix")
	items, err = f.List(f.ctx, f.space, "t!", "s!C!x", 100)
	require.NoError(f, err)
	require.Len(f, items, 26, "after lies before the prefix")
}

func remove(f *fixture) {
	f.put("a", []byte("1"))
	f.put("b", []byte("2"))
	require.NoError(f, f.Delete(f.ctx, f.space, "a", "never was"))
	require.NoError(f, f.Delete(f.ctx, f.space, "a"))
	require.NoError(f, f.Delete(f.ctx, f.space))
	require.Equal(f, []string{"b"}, f.keys("", 10))
	f.put("a", []byte("another"))
}

func spacesApart(f *fixture) {
	names := []string{"a", "A", "a!", "a/b", "a%2fb", "..", "\x00", "ä", strings.Repeat("n", 128), strings.Repeat("\xff", 128),
		strings.Repeat("n", streamhub.MaxNameLength), strings.Repeat("\xff", streamhub.MaxNameLength)}
	var ids []archive.SpaceID
	for _, store := range []uuid.UUID{uuid.New(), uuid.New()} {
		for _, name := range names {
			ids = append(ids, archive.SpaceID{Store: store, Space: name})
		}
	}
	for i, id := range ids {
		require.NoError(f, f.Put(f.ctx, id, archive.Object{Key: "k", Data: []byte(fmt.Sprint(i))}))
		_, err := f.SetManifest(f.ctx, id, "", []byte(fmt.Sprint("m", i)))
		require.NoError(f, err)
	}
	for i, id := range ids {
		data, err := f.Get(f.ctx, id, "k")
		require.NoError(f, err)
		require.Equal(f, fmt.Sprint(i), string(data))
		data, _, err = f.Manifest(f.ctx, id)
		require.NoError(f, err)
		require.Equal(f, fmt.Sprint("m", i), string(data))
		items, err := f.List(f.ctx, id, "", "", 10)
		require.NoError(f, err)
		require.Len(f, items, 1, "neither the manifest nor another space")
	}
	seen := map[archive.SpaceID]int{}
	for after := (archive.SpaceID{}); ; {
		page, err := f.Spaces(f.ctx, after, 7)
		require.NoError(f, err)
		if len(page) == 0 {
			break
		}
		for _, id := range page {
			seen[id]++
		}
		after = page[len(page)-1]
	}
	for _, id := range ids {
		require.Equal(f, 1, seen[id], "%q", id.Space)
	}
	for _, store := range []uuid.UUID{ids[0].Store, ids[len(ids)-1].Store} {
		found := map[string]bool{}
		for after := ""; ; {
			page, err := f.archive().SpacesOf(f.ctx, store, after, 5)
			require.NoError(f, err)
			if len(page) == 0 {
				break
			}
			for _, id := range page {
				require.Equal(f, store, id.Store)
				found[id.Space] = true
			}
			after = page[len(page)-1].Space
		}
		require.Len(f, found, len(names), "the spaces of a store lie together")
	}
}

func longKeys(f *fixture) {
	a := strings.Repeat("V", 511) + "A"
	f.put(a, []byte("1"))
	f.put(a[:511], []byte("2"))
	require.Equal(f, []string{a[:511], a}, f.keys("V", 10))
}

var manifestCases = []namedCase{
	{"ManifestVersions", manifestVersions},
	{"ManifestRemoved", manifestRemoved},
	{"ManifestRace", manifestRace},
}

func manifestRemoved(f *fixture) {
	require.NoError(f, f.RemoveManifest(f.ctx, f.space, "of none"), "there is none")
	first, err := f.SetManifest(f.ctx, f.space, "", []byte("one"))
	require.NoError(f, err)
	second, err := f.SetManifest(f.ctx, f.space, first, []byte("two"))
	require.NoError(f, err)
	for _, version := range []string{"", first, "no such version"} {
		require.ErrorIs(f, f.RemoveManifest(f.ctx, f.space, version), streamhub.ErrFenced)
	}
	data, _, err := f.Manifest(f.ctx, f.space)
	require.NoError(f, err)
	require.Equal(f, "two", string(data))
	f.put("k", []byte("stays"))
	require.NoError(f, f.RemoveManifest(f.ctx, f.space, second))
	require.NoError(f, f.RemoveManifest(f.ctx, f.space, second), "a repeat")
	_, _, err = f.Manifest(f.ctx, f.space)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	require.Equal(f, []string{"k"}, f.keys("", 10))
	_, err = f.SetManifest(f.ctx, f.space, second, []byte("three"))
	require.ErrorIs(f, err, streamhub.ErrFenced)
	again, err := f.SetManifest(f.ctx, f.space, "", []byte("two"))
	require.NoError(f, err)
	require.NotContains(f, []string{first, second}, again, "no version comes back")
	require.ErrorIs(f, f.RemoveManifest(f.ctx, f.space, second), streamhub.ErrFenced)
}

func manifestVersions(f *fixture) {
	_, _, err := f.Manifest(f.ctx, f.space)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.SetManifest(f.ctx, f.space, "no such version", []byte("x"))
	require.ErrorIs(f, err, streamhub.ErrFenced)
	first, err := f.SetManifest(f.ctx, f.space, "", []byte("one"))
	require.NoError(f, err)
	_, err = f.SetManifest(f.ctx, f.space, "", []byte("two"))
	require.ErrorIs(f, err, streamhub.ErrFenced)
	second, err := f.SetManifest(f.ctx, f.space, first, []byte("two"))
	require.NoError(f, err)
	require.NotEqual(f, first, second)
	_, err = f.SetManifest(f.ctx, f.space, first, []byte("three"))
	require.ErrorIs(f, err, streamhub.ErrFenced)
	data, version, err := f.Manifest(f.ctx, f.space)
	require.NoError(f, err)
	require.Equal(f, "two", string(data))
	require.Equal(f, second, version)
	third, err := f.SetManifest(f.ctx, f.space, version, []byte("one"))
	require.NoError(f, err)
	require.NotEqual(f, first, third, "the same bytes again are another version")
}

// manifestRace lets many goroutines increment a counter in one manifest.
func manifestRace(f *fixture) {
	_, err := f.SetManifest(f.ctx, f.space, "", []byte("0"))
	require.NoError(f, err)
	const writers, each = 4, 10
	var lost atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for n := 0; n < each && f.ctx.Err() == nil; {
				data, version, err := f.Manifest(f.ctx, f.space)
				if err != nil {
					f.Error(err)
					return
				}
				var count int
				_, _ = fmt.Sscan(string(data), &count)
				switch _, err := f.SetManifest(f.ctx, f.space, version, []byte(fmt.Sprint(count+1))); {
				case err == nil:
					n++
				case isFenced(err):
					lost.Add(1)
				default:
					f.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	data, _, err := f.Manifest(f.ctx, f.space)
	require.NoError(f, err)
	require.Equal(f, fmt.Sprint(writers*each), string(data))
	f.Logf("%d lost races", lost.Load())
}
