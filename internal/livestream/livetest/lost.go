package livetest

import (
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

var lostCases = []namedCase{
	{"Lost", lost},
	{"LostBeforeBegun", lostBeforeBegun},
	{"Healthy", healthy},
	{"Outage", outage},
	{"Denied", denied},
	{"LateReader", lateReader},
	{"Sweep", sweep},
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// settled waits until b has heard of streams for long enough to trust in silence.
func (f *fixture) settled() { f.pass(2 * fast.Heartbeat) }

// lost notices a dead producer within two heartbeats wherever there is a reader, after all that was
// stored. What it sends when it comes to life again is refused.
func lost(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	r := f.reader(f.get(b, "chat"))
	f.publish(p, "1", "2")
	r.gets("1", "2")
	f.settled()
	a.fate.dead.Store(true)
	died := time.Now()
	require.Equal(f, []string{"1", "2"}, r.ends(streamhub.VerdictLost))
	took := time.Since(died)
	f.Logf("noticed after %v, of a heartbeat of %v", took.Round(time.Millisecond), fast.Heartbeat)
	require.Greater(f, took, fast.Heartbeat/2)

	q := f.register(b, "chat", nil)
	f.publish(q, "3")
	a.fate.dead.Store(false)
	_ = f.called(told)
	require.Error(f, p.Publish(f.ctx, []byte("late")))
	require.NoError(f, q.Done(f.ctx, nil))
	texts, _ := f.read(q, nil)
	require.Equal(f, []string{"3"}, texts)
	texts, v := f.read(p, nil)
	require.Equal(f, []string{"1", "2"}, texts)
	require.Equal(f, streamhub.VerdictLost, v.Kind)
	require.Empty(f, told)
}

// denied tells a producer whose user lacks a right at once, where an outage is waited for.
func denied(f *fixture) {
	a := f.open(nil)
	p := f.register(a, "chat", nil)
	f.publish(p, "1")
	a.fate.denied.Store(true)
	defer a.fate.denied.Store(false)
	require.NoError(f, p.Publish(f.ctx, []byte("2")))
	err := p.Flush(f.ctx)
	var unavailable *streamhub.UnavailableError
	require.ErrorAs(f, err, &unavailable)
	require.Equal(f, streamhub.ReasonDenied, unavailable.Reason)
	<-p.Context().Done()
	require.ErrorAs(f, p.Publish(f.ctx, []byte("3")), &unavailable)
}

// lostBeforeBegun frees an id whose producer died before it had made anything of it.
func lostBeforeBegun(f *fixture) {
	b := f.open(&fast)
	watch := f.register(b, "another", nil)
	f.settled()
	// What the first step of a registration leaves.
	generation := b.plant(f, "chat", 600*time.Millisecond)
	s := f.get(b, "chat")
	require.Equal(f, generation, s.Generation())
	p, _, err := b.Register(f.ctx, "chat", nil)
	require.NoError(f, err)
	require.Nil(f, p)
	require.Equal(f, streamhub.VerdictLost, f.verdict(s).Kind)
	f.register(b, "chat", nil)
	require.NoError(f, watch.Close(f.ctx))
}

// plant leaves a session without segments, as a producer that died in the middle of Register.
func (i *instance) plant(f *fixture, id string, silence time.Duration) uint64 {
	conn := f.connect(f.T)
	key := func(name string) string { return "sh:{" + f.store.String() + "." + space + "}:" + name }
	now, err := conn.Time(f.ctx).Result()
	require.NoError(f, err)
	generation := uint64(now.UnixMicro())
	require.NoError(f, conn.HSet(f.ctx, key("ls:"+id), "g", decimal(generation), "o", "x", "w", silence.Milliseconds(), "k", 60000, "t", now.UnixMilli()).Err())
	require.NoError(f, conn.ZAdd(f.ctx, key("la"), redisZ(float64(now.Add(silence).UnixMilli()), id+"~"+decimal(generation))).Err())
	return generation
}

// healthy producers that publish nothing for many heartbeats live.
func healthy(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	r := f.reader(f.get(b, "chat"))
	f.pass(6 * fast.Heartbeat)
	require.Empty(f, told)
	f.publish(p, "1")
	r.gets("1")
	require.NoError(f, p.Done(f.ctx, nil))
	r.ends(streamhub.VerdictDone)
}

// outage, in which no producer can be heard, ends no stream, however long it is.
func outage(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	told, onCancel := onCancel()
	p := f.register(a, "chat", &live.RegisterOptions{OnCancel: onCancel})
	r := f.reader(f.get(b, "chat"))
	f.settled()
	a.fate.dead.Store(true)
	b.fate.dead.Store(true)
	f.pass(4 * fast.Heartbeat)
	b.fate.dead.Store(false) // the reader's instance can reach Redis before the producer's
	f.pass(fast.Heartbeat)
	a.fate.dead.Store(false)
	f.pass(3 * fast.Heartbeat)
	require.Empty(f, told, "a healthy producer was ended")
	f.publish(p, "1")
	r.gets("1")
	require.NoError(f, p.Done(f.ctx, nil))
	r.ends(streamhub.VerdictDone)
}

// lateReader finds out by itself what no instance was there to notice.
func lateReader(f *fixture) {
	a := f.open(&fast)
	p := f.register(a, "chat", nil)
	f.publish(p, "1")
	a.fate.dead.Store(true)
	f.pass(3 * fast.Heartbeat)
	b := f.open(&fast)
	texts, v := f.read(f.get(b, "chat"), nil)
	require.Equal(f, []string{"1"}, texts)
	require.Equal(f, streamhub.VerdictLost, v.Kind)
	a.fate.dead.Store(false)
}

// sweep ends streams in spaces without readers.
func sweep(f *fixture) {
	a, b := f.open(&fast), f.open(&fast)
	p := f.register(a, "chat", nil)
	f.publish(p, "1")
	require.NoError(f, b.manager.Sweep(f.ctx, f.store))
	a.fate.dead.Store(true)
	f.pass(2 * fast.Heartbeat)
	require.NoError(f, b.manager.Sweep(f.ctx, f.store))
	f.eventually("a verdict", func() bool {
		status, err := b.store.Status(f.ctx, space, "chat~"+decimal(p.Generation()))
		require.NoError(f, err)
		return status.Verdict != nil && status.Verdict.Kind == streamhub.VerdictLost
	})
	a.fate.dead.Store(false)
}
