package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/live"
)

// liveSpace is the space of the live streams of programs.
const liveSpace = "live"

// A producer is one of a program, in a process or of no process.
type producer struct {
	id         string
	generation uint64 // of the model
	number     uint64
	process    int // see [Way.Process]
	local      live.Producer
	remote     live.RemoteProducer
	// over is what a local producer was told, or has done, at its end; asked says that it was told to stop. unheard says that
	// over is still to reach it: its context ended when it was asked, and does not show that.
	over    error
	unheard bool
	asked   *live.CancelError
	touched bool // Redis has lost something of its generation: it may still be told so
}

// A viewer reads a generation, from a chunk on.
type viewer struct {
	id         string
	generation uint64
	cancel     context.CancelFunc
	events     <-chan live.Event
	seen       []*chunk // the last one is where it goes on
	batch      uint64   // chunks that come as one
	// joins says that nothing came yet and that what is there comes as one. The viewer begins later than the step that
	// opened it, so that may be more.
	joins   bool
	over    bool
	rewound bool
}

// A mark is a cursor of a live stream.
type mark struct {
	id         string
	generation uint64
	seen       []*chunk
	cursor     live.Cursor
}

// stage are the live streams of a program.
type stage struct {
	producers map[int]*producer
	viewers   map[int]*viewer
	marks     []mark
	keys      map[string]string // of the last registration of a stream
}

func newStage() stage {
	return stage{producers: map[int]*producer{}, viewers: map[int]*viewer{}, keys: map[string]string{}}
}

// errNone stands for an answer without an error.
var errNone = errors.New("none")

// sure makes a call that may be repeated until it has an answer.
func (r *run) sure(call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	for {
		err := call(ctx)
		if !streamhub.Retryable(err) || ctx.Err() != nil {
			return err
		}
	}
}

// live makes a step about live streams.
func (r *run) live(s Step) error {
	if r.way.Live(s.By, liveSpace) == nil {
		return nil // the copy of the model has none
	}
	var err error
	switch s.Op {
	case Register:
		err = r.register(s)
	case Publish:
		err = r.publish(s)
	case Describe:
		err = r.describe(s)
	case End:
		err = r.finish(s)
	case Beat:
		err = r.beat(s)
	case HandOver:
		err = r.handOver(s)
	case Messages:
		err = r.messages(s)
	case Send, Cancel, Remove, LiveStatus, View:
		err = r.visit(s)
	case Silence:
		err = r.silence()
	}
	return err
}

// register makes a producer of a slot.
func (r *run) register(s Step) error {
	r.way.Advance(time.Millisecond) // generations are numbered by the clock
	r.model.Now++
	o := &live.RegisterOptions{
		Takeover: s.Takeover, Once: s.Once, By: fmt.Sprint("writer ", s.By), Key: fmt.Sprintf("key%032d", r.index), ContentType: s.Type,
		EndedTTL: time.Duration(s.TTL) * time.Millisecond,
	}
	if last := r.stage.keys[s.Seg]; s.Own && last != "" && !r.twins(s.Seg) {
		o.Key = last
	}
	r.stage.keys[s.Seg] = o.Key
	if s.Meta {
		o.Metadata = map[string]string{"of": fmt.Sprint(r.index)}
	}
	p := &producer{id: s.Seg, process: r.way.Process(s.By)}
	var current live.Stream
	err := r.sure(func(ctx context.Context) (err error) {
		if s.Remote {
			p.remote, current, err = r.way.Live(s.By, liveSpace).Start(ctx, s.Seg, o)
		} else {
			p.local, current, err = r.way.Live(s.By, liveSpace).Register(ctx, s.Seg, o)
		}
		return err
	})
	begun, taken, wantErr := r.model.register(s.Seg, o)
	if bad := r.told(err, wantErr); bad != nil || wantErr != nil {
		return bad
	}
	if (current == nil) == (begun == nil) {
		return fmt.Errorf("the stream is taken: %v, want %v", current != nil, taken != nil)
	}
	if taken != nil {
		return errors.Join(same("generation", current.Generation(), taken.number), same("stream", current.ID(), s.Seg))
	}
	if p.local != nil {
		p.number = p.local.Generation()
	} else {
		p.number = p.remote.Generation()
	}
	p.generation = begun.id
	if err := r.model.numbered(s.Seg, begun, p.number); err != nil {
		return err
	}
	slot := s.At % slots
	if was := r.stage.producers[slot]; was != nil && was.local != nil && was.over == nil {
		slot += slots // it goes on without the program
		for r.stage.producers[slot] != nil {
			slot += slots
		}
		r.stage.producers[slot] = was
		slot = s.At % slots
	}
	r.stage.producers[slot] = p
	return nil
}

// twins reports whether another registration with the same key could have two producers number their chunks
// alike: clients do, each from 1 on.
func (r *run) twins(id string) bool {
	g := r.model.stream(id)
	for _, p := range r.stage.producers {
		if r.way.Remote() && g != nil && p.id == id && p.generation == g.id {
			return true
		}
	}
	return false
}

// told compares the error of a call about live streams.
func (r *run) told(got, want error) error {
	r.outcome = string(streamhub.CodeOf(got))
	fail := fmt.Errorf("the error is %w (%s), want %v", errors.Join(got, errNone), describe(got), want)
	var closed, isClosed *streamhub.ClosedError
	var fenced, isFenced *streamhub.FencedError
	switch {
	case want == nil && got == nil:
		return nil
	case want == nil || got == nil:
		return fail
	case errors.As(want, &closed):
		if !errors.As(got, &isClosed) {
			return fail
		}
		return sameVerdict(isClosed.Verdict, closed.Verdict)
	case errors.As(want, &fenced):
		// Where several took over, each of the later ones may be named.
		if !errors.As(got, &isFenced) || isFenced.Got != fenced.Got || isFenced.Current < fenced.Current {
			return fail
		}
		return nil
	}
	if streamhub.CodeOf(got) != streamhub.CodeOf(want) {
		return fail
	}
	return nil
}

func sameVerdict(got, want streamhub.Verdict) error {
	if got.Kind != want.Kind || got.Reason != want.Reason || !bytes.Equal(got.Output, want.Output) {
		return fmt.Errorf("the verdict is %s %q %s, want %s %q %s", got.Kind, got.Reason, got.Output, want.Kind, want.Reason, want.Output)
	}
	return nil
}

// producing is what a producer is told now, and whether that cannot be compared: what is kept of an ended
// generation has an end, and after that the store forgets in steps of its own.
func (r *run) producing(p *producer) (want error, vague bool) {
	g := r.model.generation(p.id, p.generation)
	if p.over != nil {
		return p.over, p.unheard && (g == nil || r.model.over(g))
	}
	return r.model.producing(p.id, p.generation), g == nil || r.model.over(g)
}

// produced compares the error of a call of a producer.
func (r *run) produced(p *producer, got error) (goesOn bool, err error) {
	want, vague := r.producing(p)
	if p.touched && want == nil && errors.Is(got, streamhub.ErrHistoryLost) {
		p.over = got
		return false, nil
	}
	if vague {
		r.outcome = string(streamhub.CodeOf(got))
		if got == nil {
			return false, fmt.Errorf("a producer of a generation that is gone went on, want %w", want)
		}
		for _, kind := range []error{streamhub.ErrHistoryLost, streamhub.ErrFenced, streamhub.ErrClosed} {
			if errors.Is(got, kind) {
				return false, nil
			}
		}
		return false, fmt.Errorf("the error is %w, want %w, or another one that says that it is gone", got, want)
	}
	return want == nil && got == nil, r.told(got, want)
}

// inSlot is the producer of a slot, with the generation that it produces; nil if that is not there.
func (r *run) inSlot(s Step) (*producer, *generation) {
	p := r.stage.producers[s.At%slots]
	if p == nil {
		return nil, nil
	}
	return p, r.model.generation(p.id, p.generation)
}

// publish publishes chunks, and waits until they are stored.
func (r *run) publish(s Step) error {
	p, g := r.inSlot(s)
	if p == nil {
		return nil
	}
	var added []*chunk
	var data [][]byte
	for i := range s.N {
		added = append(added, &chunk{fmt.Sprintf("%d.%d", r.index, i)})
		data = append(data, []byte(added[i].data))
	}
	if p.local != nil {
		goesOn, bad := r.produced(p, r.store(p.local, data...))
		if goesOn && bad == nil {
			g.chunks = append(g.chunks, added...)
		}
		return bad
	}
	first := uint64(1)
	if g != nil {
		first += uint64(len(g.chunks))
	}
	switch {
	case s.Turn == 1 && first > 1: // the last one again, and then more
		first--
		data = append([][]byte{[]byte(g.chunks[first-1].data)}, data...)
	case s.Turn == 3:
		first++
	}
	var next uint64
	err := r.sure(func(ctx context.Context) (err error) {
		next, err = p.remote.Publish(ctx, first, data)
		return err
	})
	var gap *streamhub.SequenceError
	if want, vague := r.producing(p); s.Turn == 3 && !vague && want == nil {
		if !errors.As(err, &gap) {
			return fmt.Errorf("the error is %w, want a gap", errors.Join(err, errNone))
		}
		r.outcome = string(streamhub.CodeOf(err))
		return errors.Join(same("sequence expected", gap.Expected, first-1), same("next one", next, first-1))
	}
	goesOn, bad := r.produced(p, err)
	if !goesOn || bad != nil {
		return bad
	}
	g.chunks = append(g.chunks, added...)
	return same("next one", next, uint64(len(g.chunks))+1)
}

// store publishes chunks, each once, and waits until they are stored.
func (r *run) store(p live.Producer, data ...[]byte) error {
	return r.sure(func(ctx context.Context) error {
		for ; len(data) > 0; data = data[1:] {
			if err := p.Publish(ctx, data[0]); err != nil {
				return err
			}
		}
		return p.Flush(ctx)
	})
}

// describe replaces the metadata.
func (r *run) describe(s Step) error {
	p, g := r.inSlot(s)
	if p == nil || p.over != nil {
		return nil
	}
	text := fmt.Sprintf(`{"of":"%d"}`, r.index)
	err := r.sure(func(ctx context.Context) error {
		if p.local != nil {
			return p.local.SetMetadata(ctx, map[string]string{"of": fmt.Sprint(r.index)})
		}
		return p.remote.SetMetadata(ctx, []byte(text))
	})
	if goesOn, bad := r.produced(p, err); !goesOn || bad != nil {
		return bad
	}
	g.metadata = text
	return nil
}

// finish ends the generation of a producer: done with an output, failed, or closed.
func (r *run) finish(s Step) error {
	p, g := r.inSlot(s)
	if p == nil {
		return nil
	}
	output := map[string]int{"at": r.index}
	v := streamhub.Verdict{Kind: streamhub.VerdictDone, Output: fmt.Appendf(nil, `{"at":%d}`, r.index)}
	switch {
	case s.Close == "failed":
		v = streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: fmt.Sprint("at ", r.index)}
	case s.Close == "" && p.local != nil:
		v = streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "closed without a result"}
		if g != nil && g.asked != nil && p.over == nil {
			v = g.asked.Verdict()
		}
	}
	var got streamhub.Verdict
	err := r.sure(func(ctx context.Context) (err error) {
		switch {
		case p.remote != nil:
			got, err = p.remote.End(ctx, v)
			return err
		case s.Close == "":
			return p.local.Close(ctx)
		case s.Close == "failed":
			return p.local.Fail(ctx, errors.New(v.Reason))
		}
		return p.local.Done(ctx, output)
	})
	want, vague := r.producing(p)
	switch {
	case p.local != nil && s.Close == "" && err == nil && want != nil:
		r.outcome = "closed"
		return nil // it is closed
	case p.remote != nil && !vague && errors.Is(want, streamhub.ErrClosed):
		return errors.Join(err, sameVerdict(got, *g.verdict))
	case p.remote != nil && vague && err == nil:
		return nil // it has the verdict that it had
	}
	goesOn, bad := r.produced(p, err)
	if !goesOn || bad != nil {
		return bad
	}
	r.model.endStream(g, v)
	if p.local != nil {
		p.over = r.model.producing(p.id, p.generation)
		return nil
	}
	return sameVerdict(got, v)
}

// beat sends the heartbeat of a producer that belongs to no process.
func (r *run) beat(s Step) error {
	p, g := r.inSlot(s)
	if p == nil || p.remote == nil {
		return nil
	}
	r.model.heard(g)
	var next uint64
	err := r.sure(func(ctx context.Context) (err error) {
		next, err = p.remote.Beat(ctx)
		return err
	})
	if goesOn, bad := r.produced(p, err); !goesOn || bad != nil {
		return bad
	}
	return same("next one", next, uint64(len(g.chunks))+1)
}

// handOver makes a producer of no process of one that has one, for another writer.
func (r *run) handOver(s Step) error {
	p, g := r.inSlot(s)
	if p == nil || p.local == nil {
		return nil
	}
	if r.way.Remote() {
		r.model.heard(g) // a client hands over with a heartbeat
	}
	token, next, err := "", uint64(0), error(nil)
	err = r.sure(func(ctx context.Context) (err error) {
		token, next, err = p.local.HandOver(ctx)
		return err
	})
	if goesOn, bad := r.produced(p, err); !goesOn || bad != nil {
		return bad
	}
	if err := same("next one", next, uint64(len(g.chunks))+1); err != nil {
		return err
	}
	err = r.sure(func(ctx context.Context) (err error) {
		p.remote, err = r.way.Live(s.By, liveSpace).Resume(ctx, p.id, token)
		return err
	})
	if err := r.told(err, nil); err != nil {
		return err
	}
	if err := p.local.Publish(r.ctx, nil); !errors.Is(err, streamhub.ErrFenced) {
		return fmt.Errorf("a producer that was handed over: the error is %w, want that it is fenced", errors.Join(err, errNone))
	}
	p.local = nil
	return same("generation", p.remote.Generation(), p.number)
}

// messages reads what a producer was sent.
func (r *run) messages(s Step) error {
	p, g := r.inSlot(s)
	if p == nil || p.over != nil || g == nil || r.model.over(g) {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	after := min(s.From, len(g.back))
	var want []live.Message
	for i, m := range g.back {
		if i < after || m.stop && p.remote == nil {
			continue
		}
		once, _ := strings.CutPrefix(m.once, "once ")
		if m.stop || once == m.once {
			once = ""
		}
		want = append(want, live.Message{Sequence: uint64(i) + 1, By: m.by, Once: once, Stop: m.stop, Data: []byte(m.data)})
	}
	if len(want) == 0 && g.verdict == nil {
		return nil
	}
	list := func() func(func(live.Message, error) bool) {
		if p.remote != nil {
			return p.remote.Messages(ctx, uint64(after))
		}
		return p.local.Messages(ctx, uint64(after))
	}()
	for m, err := range list {
		if err != nil {
			if len(want) > 0 && (g.verdict == nil || !r.way.Remote()) {
				return fmt.Errorf("%d messages are missing: %w", len(want), err)
			}
			// A gateway gives no message of a generation that has ended. One of a process is told of a takeover as its readers are.
			var closed *streamhub.ClosedError
			if errors.As(err, &closed) && g.verdict != nil {
				return sameVerdict(closed.Verdict, *g.verdict)
			}
			_, bad := r.produced(p, err)
			return bad
		}
		if len(want) == 0 {
			return fmt.Errorf("message %d, want none", m.Sequence)
		}
		m.Timestamp = time.Time{}
		if w := want[0]; m.Sequence != w.Sequence || m.By != w.By || m.Once != w.Once || m.Stop != w.Stop || string(m.Data) != string(w.Data) {
			return fmt.Errorf("message %+v, want %+v", m, w)
		}
		if want = want[1:]; len(want) == 0 && g.verdict == nil {
			return nil
		}
	}
	return fmt.Errorf("messages ended without an error: %w", errors.Join(ctx.Err(), errNone))
}

// visit makes the steps of those who do not produce.
func (r *run) visit(s Step) error {
	streams := r.way.Live(s.By, liveSpace)
	if s.Op == Remove {
		err := r.sure(func(ctx context.Context) error { return streams.Remove(ctx, s.Seg) })
		if g := r.model.stream(s.Seg); g != nil {
			if g.verdict == nil {
				r.model.endStream(g, streamhub.Verdict{Kind: streamhub.VerdictDeleted, Reason: "removed"})
			}
			g.removed = true
		}
		return r.told(err, nil)
	}
	if s.Op == View {
		if c, ok := r.mark(s); ok {
			stream, err := streams.Generation(s.Seg, c.generationNumber(r))
			if err != nil {
				return err
			}
			return r.view(s, stream, c)
		}
	}
	var stream live.Stream
	err := r.sure(func(ctx context.Context) (err error) {
		stream, err = streams.Get(ctx, s.Seg)
		return err
	})
	g := r.model.stream(s.Seg)
	if g == nil {
		return r.told(err, streamhub.ErrNotFound)
	}
	if err := r.told(err, nil); err != nil {
		return err
	}
	if err := same("generation", stream.Generation(), g.number); err != nil {
		return err
	}
	switch s.Op {
	case Send:
		return r.send(s, stream, g)
	case Cancel:
		by := &live.CancelError{By: fmt.Sprint("reader ", s.By), Reason: "enough"}
		var got streamhub.Verdict
		err := r.sure(func(ctx context.Context) (err error) {
			got, err = stream.Cancel(ctx, &live.CancelOptions{By: by.By, Reason: by.Reason, NoWait: true})
			return err
		})
		want := r.model.cancel(g, by)
		return errors.Join(r.told(err, nil), sameVerdict(got, want))
	case View:
		return r.view(s, stream, mark{id: s.Seg, generation: g.id})
	}
	return r.liveStatus(s, stream, g)
}

func (r *run) send(s Step, stream live.Stream, g *generation) error {
	m := message{once: fmt.Sprintf("key %032d", r.index), data: fmt.Sprint(r.index), by: fmt.Sprint("reader ", s.By)}
	o := &live.SendOptions{By: m.by, Key: strings.TrimPrefix(m.once, "key ")}
	if s.Once {
		m.once, o.Key, o.Once = "once answer", "", "answer"
		if s.Own { // the same for all
			m.data, m.by, o.By = "yes", "", ""
		}
	}
	var got uint64
	err := r.sure(func(ctx context.Context) (err error) {
		got, err = stream.Send(ctx, []byte(m.data), o)
		return err
	})
	want, wantErr := r.model.send(g, m)
	if bad := r.told(err, wantErr); bad != nil || wantErr != nil {
		return bad
	}
	return same("sequence of the message", got, want)
}

func (r *run) liveStatus(s Step, stream live.Stream, g *generation) error {
	var got live.Status
	var active map[string]bool
	err := r.sure(func(ctx context.Context) (err error) {
		if active, err = r.way.Live(s.By, liveSpace).Active(ctx, []string{s.Seg}); err != nil {
			return err
		}
		got, err = stream.Status(ctx)
		return err
	})
	if err := r.told(err, nil); err != nil {
		return err
	}
	if (got.Verdict == nil) != (g.verdict == nil) {
		return fmt.Errorf("the verdict is %v, want %v", got.Verdict, g.verdict)
	}
	if g.verdict != nil {
		if err := sameVerdict(*got.Verdict, *g.verdict); err != nil {
			return err
		}
	}
	if got.Chunks > 0 {
		r.stage.marks = append(r.stage.marks, mark{s.Seg, g.id, slices.Clone(g.chunks), got.Cursor})
	}
	return errors.Join(same("number of chunks", got.Chunks, uint64(len(g.chunks))), same("producer", got.By, g.by),
		same("metadata", string(got.Metadata), g.metadata), same("start", got.StartedAt, millis.Time(g.started)),
		same("answer whether it is produced", active[s.Seg], g.verdict == nil))
}

// mark counts back over the cursors of a stream.
func (r *run) mark(s Step) (m mark, ok bool) {
	var fit []mark
	for _, m := range slices.Backward(r.stage.marks) {
		if m.id == s.Seg {
			fit = append(fit, m)
		}
	}
	if s.Cursor == 0 || len(fit) == 0 {
		return m, false
	}
	return fit[(s.Cursor-1)%len(fit)], true
}

// generationNumber is that of the generation in force, or of any: the cursor names its own.
func (m mark) generationNumber(r *run) uint64 {
	if g := r.model.stream(m.id); g != nil {
		return g.number
	}
	return 1
}

// view opens a viewer in a slot.
func (r *run) view(s Step, stream live.Stream, from mark) error {
	r.endViewer(s.At % slots)
	v := &viewer{id: from.id, generation: from.generation, seen: from.seen, joins: s.Any}
	if g := r.model.generation(v.id, v.generation); s.Any && g != nil && len(g.chunks) > len(v.seen) {
		v.batch = uint64(len(g.chunks) - len(v.seen))
	}
	ctx, cancel := context.WithCancel(r.ctx)
	v.cancel = cancel
	v.events = stream.Channel(ctx, &live.SubscribeOptions{Cursor: from.cursor, BatchReplay: s.Any})
	r.stage.viewers[s.At%slots] = v
	return nil // it is compared after the step
}

func (r *run) endViewers() {
	for slot := range slots {
		r.endViewer(slot)
	}
}

func (r *run) endViewer(slot int) {
	v := r.stage.viewers[slot]
	if v == nil {
		return
	}
	delete(r.stage.viewers, slot)
	v.cancel()
	for range v.events {
		continue // until it has gone
	}
}

// shown compares all viewers, and what producers are told.
func (r *run) shown() error {
	for slot := range slots {
		v := r.stage.viewers[slot]
		if v == nil {
			continue
		}
		if err := r.follows(v); err != nil {
			return fmt.Errorf("viewer %d of %q, after %d: %w", slot, v.id, len(v.seen), err)
		}
	}
	for slot, p := range r.stage.producers {
		if err := r.stopped(p); err != nil {
			return fmt.Errorf("producer %d of %q: %w", slot, p.id, err)
		}
	}
	return nil
}

// follows takes what is due to a viewer.
func (r *run) follows(v *viewer) error {
	for !v.over {
		g := r.model.generation(v.id, v.generation)
		lost := g == nil || len(g.chunks) < len(v.seen) || !slices.Equal(g.chunks[:len(v.seen)], v.seen)
		if !lost && len(v.seen) == len(g.chunks) && g.verdict == nil {
			return nil
		}
		timer := time.NewTimer(patience)
		var e live.Event
		select {
		case got, ok := <-v.events:
			timer.Stop()
			if !ok {
				return errors.New("it ended without an error")
			}
			e = got
		case <-timer.C:
			return fmt.Errorf("nothing for %v", patience)
		}
		if e.Err != nil {
			v.over = true
			gone := errors.Is(e.Err, streamhub.ErrHistoryLost) || errors.Is(e.Err, streamhub.ErrNotFound)
			switch {
			case lost && gone, v.rewound && errors.Is(e.Err, streamhub.ErrHistoryLost):
				return nil
			case !lost && r.model.over(g) && (gone || errors.Is(e.Err, streamhub.ErrClosed)):
				return nil // it came too late, and what is left says so
			case lost || len(v.seen) < len(g.chunks) || g.verdict == nil:
				return fmt.Errorf("it ended: %w", e.Err)
			}
			return r.told(e.Err, &streamhub.ClosedError{Verdict: *g.verdict})
		}
		n := max(1, v.batch)
		if v.joins {
			n = max(n, e.Replayed)
		}
		if lost || uint64(len(g.chunks)-len(v.seen)) < n {
			return fmt.Errorf("chunk %d of generation %d, %q, which is not there", e.Sequence, e.Generation, e.Data)
		}
		v.batch, v.joins = 0, false
		want := ""
		for _, c := range g.chunks[len(v.seen) : len(v.seen)+int(n)] {
			want += c.data
		}
		v.seen = g.chunks[: len(v.seen)+int(n) : len(v.seen)+int(n)]
		err := errors.Join(same("chunk", string(e.Data), want), same("sequence", e.Sequence, uint64(len(v.seen))),
			same("generation", e.Generation, g.number), same("number of chunks", e.Replayed, n))
		if err != nil {
			return err
		}
		r.stage.marks = append(r.stage.marks, mark{v.id, v.generation, v.seen, e.Cursor()})
	}
	return nil
}

// stopped waits until a local producer was told what it has to be told.
func (r *run) stopped(p *producer) error {
	if p.local == nil || p.over != nil {
		return nil
	}
	g := r.model.generation(p.id, p.generation)
	want := r.model.producing(p.id, p.generation)
	if want == nil && (g.asked == nil || p.asked != nil) {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.local.Context().Done():
	case <-timer.C:
		return fmt.Errorf("it was not told %v", errors.Join(want, errNone))
	}
	cause := context.Cause(p.local.Context())
	var asked *live.CancelError
	switch {
	case errors.As(cause, &asked):
		if p.asked == nil && g != nil {
			p.asked = g.asked
		}
		if p.asked == nil || *asked != *p.asked {
			return fmt.Errorf("it was asked to stop by %q, %q", asked.By, asked.Reason)
		}
		if want == nil {
			return nil
		}
		p.unheard = true
	case p.touched && errors.Is(cause, streamhub.ErrHistoryLost):
		p.over = cause
		return nil
	case want == nil:
		return fmt.Errorf("it was told %w, want that it is to stop", cause)
	default:
		if err := r.told(cause, want); err != nil {
			return err
		}
	}
	p.over = want
	return nil
}

// rewinding is called before a rewind, and the function that it returns after it: local producers find out
// with a chunk what came of their generations.
func (r *run) rewinding() func() error {
	before := map[*producer]*generation{}
	for _, p := range r.stage.producers {
		if g := r.model.generation(p.id, p.generation); g != nil {
			before[p] = g
		}
	}
	return func() error {
		for _, v := range r.stage.viewers {
			v.rewound = true
		}
		for slot, p := range r.stage.producers {
			if p.local == nil || p.over != nil {
				continue
			}
			g := r.model.generation(p.id, p.generation)
			c := &chunk{fmt.Sprintf("%d.%d", r.index, slot)}
			err := r.store(p.local, []byte(c.data))
			touched := before[p] == nil || !before[p].same(g)
			told := errors.Is(err, streamhub.ErrHistoryLost) || errors.Is(err, streamhub.ErrFenced) || errors.Is(err, streamhub.ErrClosed)
			switch {
			case err == nil && (g == nil || g.verdict != nil || len(g.chunks) < len(before[p].chunks) && !r.shared(p)):
				return fmt.Errorf("producer %d of %q went on after what it had published was lost", slot, p.id)
			case err == nil:
				g.chunks, p.touched = append(g.chunks, c), touched
			case touched && told:
				p.over = err
				if err := r.underWay(p, g, c); err != nil {
					return err
				}
			default:
				return fmt.Errorf("producer %d of %q lost nothing, and was told: %w", slot, p.id, err)
			}
		}
		return nil
	}
}

// shared reports whether a producer in another process has the same generation, so that a chunk may be of that one.
func (r *run) shared(p *producer) bool {
	for _, other := range r.stage.producers {
		if other.id == p.id && other.generation == p.generation && other.process != p.process {
			return true
		}
	}
	return false
}

// underWay looks whether a chunk was stored whose producer was stopped while it was under way.
func (r *run) underWay(p *producer, g *generation, c *chunk) error {
	if g == nil || g.verdict != nil {
		return nil
	}
	status, err := r.statusOf(p.id, g)
	if err == nil && status.Chunks == uint64(len(g.chunks))+1 {
		g.chunks = append(g.chunks, c)
	}
	return err
}

// statusOf is the status of a generation, whether it is in force or not.
func (r *run) statusOf(id string, g *generation) (status live.Status, err error) {
	stream, err := r.way.Live(0, liveSpace).Generation(id, g.number)
	if err != nil {
		return status, err
	}
	err = r.sure(func(ctx context.Context) (err error) {
		status, err = stream.Status(ctx)
		return err
	})
	return status, err
}

// silence lets the clock go on in steps that no producer of this process misses, so that all others are lost.
func (r *run) silence() error {
	heard := map[uint64]bool{}
	var names []string
	for _, p := range r.stage.producers {
		if g := r.model.generation(p.id, p.generation); p.local != nil && p.over == nil && g != nil && !r.way.Remote() {
			heard[g.id] = true
			names = append(names, fmt.Sprintf("%s~%d", p.id, g.number))
		}
	}
	for range 8 {
		r.way.Advance(heartbeat)
		r.model.Now += heartbeat.Milliseconds()
		if err := r.way.Beat(r.ctx, liveSpace, names); err != nil {
			return err
		}
		for id, g := range r.model.silent(heard) {
			if err := r.ended(id, g); err != nil {
				return err
			}
		}
		if err := r.shown(); err != nil { // before it is kept no longer
			return err
		}
	}
	if r.way.Remote() {
		return nil // a client that was asked to stop says that it is there, by the clock of the machine
	}
	for id := range r.model.silent(heard) {
		return fmt.Errorf("the producer of %q was silent and is not lost", id)
	}
	return nil
}

// ended looks whether a generation that was silent has ended.
func (r *run) ended(id string, g *generation) error {
	got, err := r.statusOf(id, g)
	if err != nil || got.Verdict == nil {
		return err
	}
	want := streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "the producer was silent"}
	if g.asked != nil && r.way.Remote() && got.Verdict.Kind == streamhub.VerdictCancelled {
		want = g.asked.Verdict() // it was heard of, and had its time
	}
	r.model.endStream(g, want)
	return sameVerdict(*got.Verdict, want)
}
