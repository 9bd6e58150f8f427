package hotlog

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// TestEvict shows what is forgotten when very many segments are appended to.
func TestEvict(t *testing.T) {
	a := newAppender(&Log{conn: &redisx.Conn{}})
	s := &Store{log: a.log}
	at := func(i int) *tail {
		p, err := s.place("space", fmt.Sprint("seg", i))
		require.NoError(t, err)
		return a.tail(p)
	}
	remembered := func(g *tail) bool { return a.tails[g.meta(g.segment)] == g }
	busy, doubtful, kept, old := at(-1), at(-2), at(-3), at(-4)
	busy.busy = true
	doubtful.used, kept.used = time.Now(), time.Now()
	doubtful.doubts = make([]doubt, 1)
	kept.kept = make([]answer, 1)
	old.doubts, old.used = make([]doubt, 1), time.Now().Add(-2*keptFor)
	for i := range maxTails - 4 {
		at(i).used = time.Now()
	}
	require.Len(t, a.tails, maxTails)
	at(maxTails)
	require.LessOrEqual(t, len(a.tails), maxTails/2+1)
	require.True(t, remembered(busy))
	require.True(t, remembered(doubtful))
	require.True(t, remembered(kept), "others could go")
	a.evict(0)
	require.Len(t, a.tails, 2, "all that may go has gone")
	require.True(t, remembered(busy))
	require.True(t, remembered(doubtful))
	require.False(t, remembered(old))
}

// TestEvictBusy lets very many segments have something to send: nothing can be forgotten, and that is
// not looked for again with each of them.
func TestEvictBusy(t *testing.T) {
	a := newAppender(&Log{conn: &redisx.Conn{}})
	s := &Store{log: a.log}
	for i := range maxTails + 10 {
		p, err := s.place("space", fmt.Sprint("seg", i))
		require.NoError(t, err)
		a.tail(p).busy = true
	}
	require.Len(t, a.tails, maxTails+10)
	require.Greater(t, a.limit, maxTails+10)
}

func TestKeep(t *testing.T) {
	g := &tail{}
	for i := range byte(200) {
		g.keep(answer{id: uuid.UUID{i}})
	}
	require.Len(t, g.kept, keptAnswers)
	require.Equal(t, uuid.UUID{199}, g.kept[keptAnswers-1].id)
	many := make([]answer, 3*keptAnswers)
	g.keep(many...)
	require.Len(t, g.kept, len(many), "the answers of one frame stay together")
	g.keep(answer{id: uuid.UUID{1}})
	require.Len(t, g.kept, keptAnswers)
}
