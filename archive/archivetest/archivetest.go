// Package archivetest is the contract of package archive in executable form. Each backend has a
// test that calls [Run].
package archivetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/archive"
)

// Run runs the contract, each case as a subtest with a backend from open. The backend may be empty or hold other
// spaces.
func Run(t *testing.T, open func(t *testing.T) archive.Backend) {
	for _, group := range [][]namedCase{backendCases, manifestCases, writeCases, faultCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				t.Cleanup(cancel)
				f := &fixture{T: t, ctx: ctx, Backend: open(t)}
				f.space = archive.SpaceID{Store: uuid.New(), Space: "space/../\x00 ünï"}
				c.test(f)
			})
		}
	}
}

type namedCase struct {
	name string
	test func(*fixture)
}

// A fixture is one case with a space of its own.
type fixture struct {
	*testing.T
	archive.Backend
	ctx   context.Context // ends when the case takes too long
	space archive.SpaceID
}

func (f *fixture) put(key string, data []byte) {
	f.Helper()
	require.NoError(f, f.Put(f.ctx, f.space, archive.Object{Key: key, Data: data}))
}

// keys lists all keys that begin with a prefix, in pages of limit.
func (f *fixture) keys(prefix string, limit int) []string {
	f.Helper()
	var keys []string
	for after := ""; ; {
		items, err := f.List(f.ctx, f.space, prefix, after, limit)
		require.NoError(f, err)
		require.LessOrEqual(f, len(items), limit)
		if len(items) == 0 {
			return keys
		}
		for _, item := range items {
			require.Greater(f, item.Key, after)
			after = item.Key
			keys = append(keys, item.Key)
		}
	}
}

func owner(token uint64) archive.Owner {
	return archive.Owner{Token: token, Lineage: "reign", Holder: fmt.Sprint("holder ", token)}
}

// claim opens the space for writing as another process would.
func (f *fixture) claim(token uint64) *archive.Writer {
	f.Helper()
	w, err := f.archive().Claim(f.ctx, f.space, owner(token))
	require.NoError(f, err)
	return w
}

// archive returns a new Archive on the backend, with empty caches, as another process has.
func (f *fixture) archive() *archive.Archive { return archive.New(f.Backend, nil) }
