package hotlogtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var lostCases = []namedCase{
	{"LostEverything", lostEverything},
	{"LostMeta", lostMeta},
	{"LostLog", lostLog},
	{"LostTimeline", lostTimeline},
	{"LostTimelineAndOn", lostTimelineAndOn},
	{"LostTimelineAtOnceGoesOn", func(f *fixture) { lostTimelineAtOnce(f, "a") }},
	{"LostTimelineAtOnceBegins", func(f *fixture) { lostTimelineAtOnce(f, "b") }},
	{"LostTail", lostTail},
	{"LostTailAndOn", lostTailAndOn},
	{"LostTailBehindProducer", lostTailBehindProducer},
	{"LostAfterRepeat", lostAfterRepeat},
	{"LostBeforeTrimmed", lostBeforeTrimmed},
	{"LostToRemote", lostToRemote},
}

func lostEverything(f *fixture) {
	tip := f.append("seg", "1", "2")
	f.append("named", "1")
	along := f.readSpace(nil)
	f.wipe()
	_, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()})
	f.lost(err, 1)
	_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: along[0].Cursor()})
	f.lost(err, 0)
	_, err = f.ReadPage(f.ctx, space, "seg", tip.Position, false)
	f.lost(err, 1)
	_, _, _, err = f.ReadSpacePage(f.ctx, space, along[1].Position, nil)
	f.lost(err, 0)
	_, err = f.tryRead("seg", nil)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	// Who appended to it is told once.
	_, err = f.with(streamhub.AppendOptions{}, "seg", "3")
	f.lost(err, 1)
	_, err = f.with(by("p", 0, 0), "named", "2")
	f.lost(err, 1)
	require.EqualValues(f, 1, f.append("seg", "new").First)
	_, err = f.tryRead("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()})
	f.lost(err, 1)
	f.holds("seg", "new")
	_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: along[0].Cursor()})
	f.lost(err, 0)
	require.Eventually(f, func() bool {
		spaces, err := f.Spaces(f.ctx, "", 10)
		return err == nil && slices.Equal(spaces, []string{space})
	}, 10*time.Second, time.Millisecond, "the space is listed again")
}

func lostMeta(f *fixture) {
	f.append("a", "1")
	tip := f.append("seg", "1", "2")
	along := f.readSpace(nil)
	f.del(f.metaKey("seg"))
	_, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()})
	f.lost(err, 1)
	_, err = f.tryReadSpace(nil)
	f.lost(err, 0)
	for _, e := range along {
		_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
		f.lost(err, 0)
	}
	_, err = f.with(streamhub.AppendOptions{}, "seg", "3")
	f.lost(err, 1)
	require.EqualValues(f, 1, f.append("seg", "new").First)
	f.holds("seg", "new")
}

func lostLog(f *fixture) {
	f.append("a", "1")
	tip := f.append("seg", "1", "2")
	f.append("seg", "3")
	along := f.readSpace(nil)
	f.del(f.logKey("seg"))
	for _, o := range []*streamhub.ReadOptions{nil, {Cursor: tip.Cursor()}, {FromSequence: 3}, {After: time.UnixMilli(1)}} {
		_, err := f.tryRead("seg", o)
		require.ErrorIs(f, err, streamhub.ErrCorrupt)
	}
	_, err := f.Peek(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	_, err = f.tryReadSpace(nil)
	f.lost(err, 0)
	_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: along[1].Cursor()})
	f.lost(err, 0)
	before := f.everything()
	_, err = f.with(streamhub.AppendOptions{}, "seg", "4")
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	_, err = f.another().Append(f.ctx, space, "seg", records("4"), nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	require.Equal(f, before, f.everything(), "nothing is repaired in silence")
}

func lostTimeline(f *fixture) {
	f.append("a", "1")
	tip := f.append("seg", "1", "2")
	along := f.readSpace(nil)
	f.del(f.timelineKey())
	_, err := f.tryReadSpace(nil)
	f.lost(err, 0)
	_, _, _, err = f.ReadSpacePage(f.ctx, space, streamhub.Position{}, nil)
	f.lost(err, 0)
	for _, e := range along {
		_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
		f.lost(err, 0)
		_, _, _, err = f.ReadSpacePage(f.ctx, space, e.Position, nil)
		f.lost(err, 0)
	}
	f.holds("seg", "1", "2")
	require.Empty(f, f.read("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()}))
}

func lostTimelineAndOn(f *fixture) {
	f.append("a", "1")
	f.append("a", "2")
	along := f.readSpace(nil)
	f.del(f.timelineKey())
	f.append("a", "3")
	f.append("b", "1")
	_, err := f.tryReadSpace(nil)
	f.lost(err, 0)
	for _, e := range along {
		_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
		f.lost(err, 0)
	}
	f.holds("a", "1", "2", "3")
}

// lostTimelineAtOnce has the next timeline begin with a segment in the same millisecond, so at the same id.
func lostTimelineAtOnce(f *fixture, segment string) {
	f.append("a", "1")
	f.append("a", "2")
	along := f.readSpace(nil)
	begun := along[0].Position.Timeline
	f.del(f.timelineKey())
	f.append(segment, "3")
	f.append("c", "1")
	entries, err := f.conn.XRange(f.ctx, f.timelineKey(), "-", "+").Result()
	require.NoError(f, err)
	f.del(f.timelineKey())
	for i, e := range entries {
		id := fmt.Sprintf("%d-%d", begun.MS, begun.N+uint64(i))
		require.NoError(f, f.conn.XAdd(f.ctx, &redis.XAddArgs{Stream: f.timelineKey(), ID: id, Values: e.Values}).Err())
		for name := range e.Values {
			if name != "a" {
				require.NoError(f, f.conn.HSet(f.ctx, f.metaKey(name), "b", id).Err(), "its birth")
			}
		}
	}
	_, err = f.tryReadSpace(nil)
	f.lost(err, 0)
	for _, e := range along {
		_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: e.Cursor()})
		f.lost(err, 0)
	}
}

// rollBack puts the segment back to what it was.
func (f *fixture) rollBack(then func()) {
	f.Helper()
	before := f.copyOf("seg")
	then()
	f.putBack(before)
}

func lostTail(f *fixture) {
	f.append("seg", "1", "2")
	var lost, along []streamhub.Entry
	f.rollBack(func() {
		f.append("seg", "3", "4")
		f.append("seg", "5")
		lost, along = f.read("seg", nil), f.readSpace(nil)
	})
	for i, e := range lost {
		rest, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: e.Cursor()})
		restAlong, errAlong := f.tryReadSpace(&streamhub.ReadOptions{Cursor: along[i].Cursor()})
		if i < 2 {
			require.NoError(f, err)
			require.NoError(f, errAlong)
			require.Len(f, rest, 1-i)
			require.Len(f, restAlong, 1-i)
			continue
		}
		f.lost(err, 3)
		f.lost(errAlong, 0)
	}
	_, err := f.with(streamhub.AppendOptions{}, "seg", "x")
	f.lost(err, 3)
	require.EqualValues(f, 3, f.append("seg", "new").First)
}

// lostTailAndOn lets the log grow again before anybody looks: only the entries themselves can tell.
func lostTailAndOn(f *fixture) {
	f.append("seg", "1", "2")
	var lost, along []streamhub.Entry
	f.rollBack(func() {
		f.append("seg", "3", "4")
		f.append("seg", "5")
		lost, along = f.read("seg", nil), f.readSpace(nil)
	})
	other := f.another()
	f.appendTo(other, "seg", "new 3")
	f.appendTo(other, "seg", "new 4", "new 5", "new 6")
	for i, e := range lost {
		rest, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: e.Cursor()})
		_, errAlong := f.tryReadSpace(&streamhub.ReadOptions{Cursor: along[i].Cursor()})
		if i < 2 {
			require.NoError(f, err)
			require.NoError(f, errAlong)
			require.Len(f, rest, 5-i)
			continue
		}
		require.ErrorIs(f, err, streamhub.ErrHistoryLost)
		f.lost(errAlong, 0)
	}
	_, err := f.with(streamhub.AppendOptions{}, "seg", "x")
	require.ErrorIs(f, err, streamhub.ErrHistoryLost)
	f.append("seg", "new 7")
	f.holds("seg", "1", "2", "new 3", "new 4", "new 5", "new 6", "new 7")
}

// lostTailBehindProducer lets a named producer append before the process that lost its own tail does.
func lostTailBehindProducer(f *fixture) {
	f.append("seg", "1")
	f.rollBack(func() { f.append("seg", "2", "3") })
	_, err := f.with(by("p", 0, 0), "seg", "of p")
	f.lost(err, 2)
	f.append("seg", "new")
	f.holds("seg", "1", "new")
}

// lostBeforeTrimmed lets the space begin again after a loss, and be trimmed. A cursor of what was lost is
// told of the loss: the cursor of the other error would go on as if there had been none.
func lostBeforeTrimmed(f *fixture) {
	f.append("seg", "1", "2")
	along := f.readSpace(nil)
	f.wipe()
	other := f.another()
	f.appendTo(other, "first", "new")
	f.appendTo(other, "seg", "new")
	f.appendTo(other, "seg", "new")
	_, err := other.Trim(f.ctx, space, "seg", 1)
	require.NoError(f, err)
	_, err = f.tryReadSpace(&streamhub.ReadOptions{Cursor: along[1].Cursor()})
	f.lost(err, 0)
	_, _, _, err = f.ReadSpacePage(f.ctx, space, along[1].Position, nil)
	f.lost(err, 0)
}

// lostToRemote is for another process, whose life of the segment was lost, though the one before it,
// which came back, was deleted on purpose.
func lostToRemote(f *fixture) {
	f.append("seg", "1")
	var known streamhub.Position
	f.rollBack(func() {
		f.delete("seg")
		known = f.appendTo(f.another(), "seg", "new").Position
	})
	require.NoError(f, f.another().Delete(f.ctx, space, "seg", "because"))
	sub := &hotlog.Submission{
		Append: streamhub.Append{Space: space, Segment: "seg", Records: records("x")}, Remote: true, Known: known,
	}
	f.Submit([]*hotlog.Submission{sub})
	_, err := sub.Wait(f.ctx)
	f.lost(err, 1)
}

// lostAfterRepeat has a named producer repeat what it appended before the entry that is lost.
func lostAfterRepeat(f *fixture) {
	p := by("p", 0, 0)
	_, err := f.another().Append(f.ctx, space, "seg", records("1"), &p)
	require.NoError(f, err)
	f.rollBack(func() {
		f.append("seg", "2")
		r, err := f.with(by("p", 0, 0), "seg", "1")
		require.NoError(f, err)
		require.True(f, r.Repeated)
	})
	_, err = f.with(streamhub.AppendOptions{}, "seg", "x")
	f.lost(err, 2)
	f.append("seg", "new")
	f.holds("seg", "1", "new")
}
