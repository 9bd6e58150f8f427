package hotlogtest

import (
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

var refusalCases = []namedCase{
	{"RefuseLayout", refuseLayout},
	{"RefuseMetaOfAnotherType", refuseMetaOfAnotherType},
	{"RefuseLogOfAnotherType", refuseLogOfAnotherType},
	{"RefuseSpaceKeysOfAnotherType", refuseSpaceKeysOfAnotherType},
	{"RefuseLogBehind", refuseLogBehind},
	{"RefuseLogAhead", refuseLogAhead},
	{"RefuseBrokenFrames", refuseBrokenFrames},
	{"RefuseBrokenMeta", refuseBrokenMeta},
}

// refused requires that every way to the segment ends with ErrCorrupt, in this process and in
// another, that its neighbours are served, and that nothing is written to its keys.
func (f *fixture) refused(segment string) {
	f.Helper()
	_, err := f.conn.HGet(f.ctx, f.metaKey("good"), "h").Result()
	require.NoError(f, err)
	for _, s := range []*fixture{f, f.twin()} {
		before := f.everything()[f.metaKey(segment)]
		_, errs := s.AppendAll(f.ctx, []streamhub.Append{
			{Space: space, Segment: "good", Records: records("x")},
			{Space: space, Segment: segment, Records: records("x")},
			{Space: space, Segment: "fresh" + itoa(uint64(len(before))), Records: records("x")},
		})
		require.NoError(f, errs[0])
		require.ErrorIs(f, errs[1], streamhub.ErrCorrupt)
		require.NoError(f, errs[2])
		require.Equal(f, before, f.everything()[f.metaKey(segment)])
	}
}

// twin is the fixture with the store as another process sees it.
func (f *fixture) twin() *fixture {
	f.Helper()
	t := *f
	t.Store = f.another()
	return &t
}

func refuseLayout(f *fixture) {
	f.append("good", "1")
	tip := f.append("seg", "1")
	head, err := f.conn.HGet(f.ctx, f.metaKey("seg"), "h").Result()
	require.NoError(f, err)
	require.NoError(f, f.conn.HSet(f.ctx, f.metaKey("seg"), "h", "2"+head[1:]).Err())
	f.refused("seg")
	for _, err := range []error{
		func() error { _, err := f.Status(f.ctx, space, "seg"); return err }(),
		func() error { _, err := f.tryRead("seg", nil); return err }(),
		func() error { _, err := f.tryRead("seg", &streamhub.ReadOptions{Cursor: tip.Cursor()}); return err }(),
		func() error { _, err := f.Peek(f.ctx, space, "seg"); return err }(),
		func() error { _, err := f.Trim(f.ctx, space, "seg", 1); return err }(),
		func() error { _, err := f.Touch(f.ctx, space, "seg"); return err }(),
		func() error { return f.Delete(f.ctx, space, "seg", "") }(),
		func() error { _, _, err := f.Create(f.ctx, space, "seg", nil); return err }(),
		func() error { _, err := f.tryReadSpace(nil); return err }(),
	} {
		require.ErrorIs(f, err, streamhub.ErrCorrupt)
	}
}

func refuseMetaOfAnotherType(f *fixture) {
	f.append("good", "1")
	f.append("seg", "1")
	f.del(f.metaKey("seg"))
	require.NoError(f, f.conn.Set(f.ctx, f.metaKey("seg"), "not ours", 0).Err())
	f.refused("seg")
	_, err := f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	_, err = f.tryRead("seg", nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	_, err = f.tryReadSpace(nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	require.ErrorIs(f, f.Delete(f.ctx, space, "seg", ""), streamhub.ErrCorrupt)
	require.Equal(f, "not ours", f.conn.Get(f.ctx, f.metaKey("seg")).Val())
}

func refuseLogOfAnotherType(f *fixture) {
	f.append("good", "1")
	f.append("seg", "1")
	log := f.logKey("seg")
	f.del(log)
	require.NoError(f, f.conn.Set(f.ctx, log, "not ours", 0).Err())
	f.refused("seg")
	_, err := f.tryRead("seg", nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	_, err = f.tryReadSpace(nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	require.Equal(f, "not ours", f.conn.Get(f.ctx, log).Val())
}

func refuseSpaceKeysOfAnotherType(f *fixture) {
	f.append("seg", "1")
	for key, appends := range map[string]struct{ old, fresh bool }{
		"t": {true, true}, "i": {false, true}, "d": {false, true},
	} {
		name := f.prefix() + key
		require.NoError(f, f.conn.Rename(f.ctx, name, name+"saved").Err())
		require.NoError(f, f.conn.Set(f.ctx, name, "not ours", 0).Err())
		before := f.everything()
		_, err := f.with(streamhub.AppendOptions{}, "seg", "x")
		if appends.old {
			require.ErrorIs(f, err, streamhub.ErrCorrupt, key)
		} else {
			require.NoError(f, err, key)
		}
		_, err = f.with(streamhub.AppendOptions{}, "fresh"+key, "x")
		require.ErrorIs(f, err, streamhub.ErrCorrupt, key)
		if appends.old {
			require.Equal(f, before, f.everything())
		}
		_, err = f.Status(f.ctx, space, "fresh"+key)
		require.ErrorIs(f, err, streamhub.ErrNotFound, key)
		require.Equal(f, "not ours", f.conn.Get(f.ctx, name).Val())
		require.NoError(f, f.conn.Rename(f.ctx, name+"saved", name).Err())
	}
	f.append("seg", "y")
	f.append("after", "1")
	require.Len(f, f.readSpace(nil), 5)
}

// refuseLogBehind removes the end of the log under the meta.
func refuseLogBehind(f *fixture) {
	f.append("good", "1")
	f.append("seg", "1", "2")
	r := f.append("seg", "3")
	log := f.logKey("seg")
	require.NoError(f, f.conn.XDel(f.ctx, log, itoa(r.Last)+"-"+itoa(uint64(r.Timestamp.UnixMilli()))).Err())
	other := f.another()
	_, err := other.Append(f.ctx, space, "seg", records("4"), nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	entries, err := f.tryRead("seg", nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	require.Len(f, entries, 2)
	_, err = f.tryReadSpace(nil)
	f.lost(err, 0)
}

// refuseLogAhead puts the meta back under the log.
func refuseLogAhead(f *fixture) {
	f.append("good", "1")
	f.append("seg", "1")
	meta, err := f.conn.HGetAll(f.ctx, f.metaKey("seg")).Result()
	require.NoError(f, err)
	f.append("seg", "2")
	require.NoError(f, f.conn.HSet(f.ctx, f.metaKey("seg"), meta).Err())
	other := f.another()
	_, err = other.Append(f.ctx, space, "seg", records("x"), nil)
	require.ErrorIs(f, err, streamhub.ErrCorrupt)
	f.holds("seg", "1")
	_, err = f.tryReadSpace(nil)
	f.lost(err, 0)
}

func refuseBrokenFrames(f *fixture) {
	f.append("seg", "1", "2")
	r := f.append("seg", "3")
	log := f.logKey("seg")
	entries, err := f.conn.XRange(f.ctx, log, "-", "+").Result()
	require.NoError(f, err)
	for _, broken := range []string{"", "x", strings.Repeat("\x00", 100)} {
		require.NoError(f, f.conn.Del(f.ctx, log).Err())
		for _, e := range entries {
			for number, frame := range e.Values {
				text := frame.(string)
				if e.ID == entries[1].ID {
					text = broken
					if broken == "x" { // one bit of the payload
						text = frame.(string)[:len(frame.(string))-1] + "2"
					}
				}
				require.NoError(f, f.conn.XAdd(f.ctx, &redis.XAddArgs{Stream: log, ID: e.ID, Values: []string{number, text}}).Err())
			}
		}
		for _, o := range []*streamhub.ReadOptions{{FromSequence: 3}, {Cursor: r.Cursor()}} {
			_, err := f.tryRead("seg", o)
			require.ErrorIs(f, err, streamhub.ErrCorrupt)
		}
		_, err = f.Peek(f.ctx, space, "seg")
		require.ErrorIs(f, err, streamhub.ErrCorrupt)
		_, err = f.tryReadSpace(nil)
		require.ErrorIs(f, err, streamhub.ErrCorrupt)
	}
}

func refuseBrokenMeta(f *fixture) {
	f.append("good", "1")
	f.append("seg", "1")
	head, err := f.conn.HGet(f.ctx, f.metaKey("seg"), "h").Result()
	require.NoError(f, err)
	for _, broken := range []string{"1", head[:43], head[:43] + "x y z t"} {
		require.NoError(f, f.conn.HSet(f.ctx, f.metaKey("seg"), "h", broken).Err())
		_, errs := f.AppendAll(f.ctx, []streamhub.Append{
			{Space: space, Segment: "good", Records: records("x")},
			{Space: space, Segment: "seg", Records: records("x")},
		})
		require.NoError(f, errs[0])
		require.Error(f, errs[1])
		_, err = f.Status(f.ctx, space, "seg")
		require.ErrorIs(f, err, streamhub.ErrCorrupt)
		require.NoError(f, f.conn.HSet(f.ctx, f.metaKey("seg"), "h", head).Err())
		_, _ = f.with(streamhub.AppendOptions{}, "seg", "again") // it was told that history is lost
		head, err = f.conn.HGet(f.ctx, f.metaKey("seg"), "h").Result()
		require.NoError(f, err)
	}
}
