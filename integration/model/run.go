package model

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// Start is what the clock says when a program begins, in Unix milliseconds.
const Start = 1_800_000_000_000

// Run runs a program on a way and returns the first answer that the model does not give, nil if there
// is none. Features, unless nil, counts what met.
func Run(ctx context.Context, w Way, program []Step, features *Features) error {
	r := &run{ctx: ctx, way: w, model: New(), names: newNames(), count: features, turns: map[turn]streamhub.Producer{}, followers: map[int]*follower{}, met: map[uint64]bool{}, stage: newStage(), web: newWeb()}
	r.model.Now, r.model.remote = Start, w.Remote()
	defer r.endFollowers()
	defer r.endViewers()
	defer r.web.transport.CloseIdleConnections()
	for i, s := range program {
		r.index = i
		r.remember(s)
		err := r.step(s)
		outcome := r.outcome
		if err == nil {
			err = r.watched(i == len(program)-1)
		}
		if err == nil {
			err = r.shown()
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i, Go(s), err)
		}
		features.note(s, outcome)
	}
	for _, s := range everything {
		r.index++
		if err := r.step(s); err != nil {
			return fmt.Errorf("in the end, %s: %w", Go(s), err)
		}
	}
	return nil
}

// everything reads all that a program has left.
var everything = func() (steps []Step) {
	for _, space := range []string{"s", "t"} {
		for _, segment := range []string{"a", "b", "c", "d"} {
			steps = append(steps, Step{Op: Read, Space: space, Seg: segment})
		}
		steps = append(steps, Step{Op: ReadSpace, Space: space})
	}
	return steps
}()

// A run is a program on its way.
type run struct {
	ctx   context.Context
	way   Way
	model *Model
	names *names
	index int
	count *Features

	saved   *pair[any]
	cursors []cursor
	times   []time.Time
	own     []repeatable
	turns   map[turn]streamhub.Producer // acknowledged last
	outcome string
	began   time.Time // the step

	followers map[int]*follower // by slot
	deaf      bool
	cuts      int
	stage     stage
	web       web
	wentBack  bool            // Redis did, so that it may contradict the archive
	met       map[uint64]bool // lives whose deadline a follower may have met, though no step has
}

// A pair is the same thing as the model and the store name it.
type pair[T any] struct{ model, store T }

// A turn names a producer of a segment.
type turn struct{ space, segment, producer string }

// A repeatable is an append that can be told from others by its TRX id.
type repeatable struct {
	pair[streamhub.Append]
	by      int
	unknown bool // its outcome is not known
	made    int64
}

// rememberedFor is how long, in milliseconds, an append of an unknown outcome can be repeated by its TRX id.
const rememberedFor = 10 * 60 * 1000

// A cursor is a position that was seen.
type cursor struct {
	pair[streamhub.Position]
	space, segment string // no segment along a space
}

// both is an argument that the two name differently.
type both struct {
	cursor      pair[streamhub.Cursor]
	incarnation pair[uint64]
}

func (r *run) step(s Step) error {
	r.model.saw, r.model.sawAll, r.model.kept, r.outcome = nil, nil, 0, ""
	r.began = time.Now()
	if s.Lose+s.Drop > 0 {
		r.way.Lose(s.Pass, s.Lose+s.Drop, s.Drop > 0)
		defer r.way.Lose(0, 0, false)
	}
	switch s.Op {
	case Append:
		a := r.append(s)
		return r.appended(s, a.model, a.store)
	case Repeat:
		return r.repeat(s)
	case AppendAll:
		return r.appendAll(s)
	case Close:
		return r.close(s)
	case Create, Fork:
		return r.create(s)
	case Delete:
		return r.delete(s)
	case Trim:
		return r.trim(s)
	case Touch:
		got, err := r.way.Store(s.By).Touch(r.ctx, s.Space, s.Seg)
		if r.lost(s, err) {
			got, err = r.way.Store(s.By).Touch(r.ctx, s.Space, s.Seg)
		}
		want, wantErr := r.model.Touch(s.Space, s.Seg)
		if err := r.failed(err, wantErr, s); err != nil {
			return err
		}
		return same("deadline", got, want)
	case Read:
		return r.read(s)
	case ReadSpace:
		return r.readSpace(s)
	case Status:
		return r.status(s)
	case Peek:
		return r.peek(s)
	case List:
		return r.list(s)
	case Sweep:
		r.model.Sweep()
		return r.way.Sweep(r.ctx)
	case Wait:
		d := time.Duration(s.For) * time.Millisecond
		r.way.Advance(d)
		r.model.Now += d.Milliseconds()
	case Save:
		r.saved = &pair[any]{r.model.Save(), r.way.Save()}
	case Rewind:
		if r.saved != nil {
			rewound := r.rewinding()
			r.wentBack = true
			r.way.Rewind(r.saved.store)
			r.model.Rewind(r.saved.model)
			return rewound()
		}
	case Follow:
		return r.follow(s)
	case Drain:
		return r.drain(s)
	case Resume:
		return r.resume(s)
	case Acquire, Renew, Release:
		return r.lease(s)
	case Cut:
		r.cuts++
		return r.way.Cut(r.ctx)
	case Deaf:
		r.deaf = !r.deaf
		r.way.Deafen(r.deaf)
	case Promote:
		r.way.Promote()
		r.model.Promote()
	case Archive:
		return r.archive(s)
	case Restore:
		return r.restore(s)
	case Put, Post, Get, Head, Drop:
		return r.stream(s)
	case Register, Publish, Describe, End, Beat, HandOver, Messages, Send, Cancel, Remove, LiveStatus, View, Silence:
		return r.live(s)
	default:
		return fmt.Errorf("no such step")
	}
	return nil
}

func same[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("the %s is %v, want %v", what, got, want)
	}
	return nil
}

// failed compares errors.
func (r *run) failed(got, want error, s Step) error {
	r.outcome = string(streamhub.CodeOf(got))
	if err := sameError(got, want, s.Space, s.Seg); err != nil {
		return err
	}
	var real, model *streamhub.TrimmedError
	if errors.As(got, &real) && errors.As(want, &model) {
		at, err := real.Cursor.Position()
		is, bad := model.Cursor.Position()
		if err := errors.Join(err, bad); err != nil {
			return err
		}
		segment := s.Seg
		if s.Op == Fork {
			segment = s.Of
		}
		r.see(s.Space, segment, at, is)
	}
	return nil
}

// see remembers a position for cursors and incarnations.
func (r *run) see(space, segment string, store, model streamhub.Position) {
	if model.IsZero() || store.IsZero() {
		return
	}
	r.cursors = append(r.cursors, cursor{pair[streamhub.Position]{model, store}, space, segment})
}

// pick counts back over the cursors that fit.
func (r *run) pick(back int, fits func(cursor) bool) (c cursor, ok bool) {
	if back == 0 {
		return c, false
	}
	var fit []cursor
	for _, c := range slices.Backward(r.cursors) {
		if fits(c) {
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return c, false
	}
	return fit[(back-1)%len(fit)], true
}

// named resolves what a step says of cursors and incarnations.
func (r *run) named(s Step) (b both) {
	segment := s.Seg
	if s.Op == ReadSpace {
		segment = ""
	}
	c, ok := r.pick(s.Cursor, func(c cursor) bool { return s.Any || c.space == s.Space && c.segment == segment })
	if ok {
		b.cursor = pair[streamhub.Cursor]{c.model.Cursor(), c.store.Cursor()}
	}
	if c, ok := r.pick(s.Life, func(c cursor) bool { return c.segment != "" && c.space == s.Space }); ok {
		b.incarnation = pair[uint64]{c.model.Incarnation, c.store.Incarnation}
	}
	return b
}

// append makes the arguments of an append.
func (r *run) append(s Step) pair[streamhub.Append] {
	b := r.named(s)
	o := &streamhub.AppendOptions{
		Generation: uint64(s.Gen), ContentType: s.Type, StreamSeq: s.Order, MustExist: s.Must, CheckOnly: s.Check,
	}
	if s.Own {
		o.TRX = uuid.NewSHA1(uuid.Nil, fmt.Append(nil, r.index, len(r.own)))
	}
	if s.Close != "" {
		o.Close = &streamhub.Verdict{Kind: streamhub.VerdictKind(s.Close), Reason: "asked"}
	}
	next, content := uint64(1), fmt.Sprint(r.index)
	if l := r.model.find(s.Space, s.Seg); l != nil && l.ended == nil {
		next = l.last() + 1
	}
	o.ExpectedSequence = [...]uint64{0, next, next + 1, max(next, 2) - 1}[s.Expect]
	if s.Producer != "" {
		o.Producer = r.producer(s)
		o.TRX = uuid.Nil
		content = fmt.Sprint(s.Producer, o.Producer.Epoch, o.Producer.Seq)
	}
	var records []streamhub.Record
	for i := range s.N {
		record := streamhub.Record{Payload: fmt.Appendf(nil, "%s.%d", content, i)}
		if s.Meta {
			record.Metadata = map[string]string{"k": content, "i": fmt.Sprint(i)}
		}
		records = append(records, record)
	}
	o.Incarnation = b.incarnation.model
	a := pair[streamhub.Append]{model: streamhub.Append{Space: s.Space, Segment: s.Seg, Records: records, Options: o}}
	a.store = a.model
	own := *o
	own.Incarnation = b.incarnation.store
	a.store.Options = &own
	if s.Own && s.Producer == "" && !s.Check {
		r.own = append(r.own, repeatable{a, s.By, false, r.model.Now})
	}
	return a
}

// producer resolves which of its appends a producer makes.
func (r *run) producer(s Step) *streamhub.Producer {
	p := &streamhub.Producer{ID: s.Producer}
	next := uint64(0)
	if l := r.model.find(s.Space, s.Seg); l != nil && l.ended == nil {
		if row, ok := l.rows[s.Producer]; ok {
			p.Epoch, next = row.epoch, row.seq+1
		}
	}
	switch {
	case s.Epoch > 0:
		p.Epoch++
		next = 0
	case s.Epoch < 0 && p.Epoch > 0:
		p.Epoch--
	}
	switch s.Turn {
	case 0:
		p.Seq = next
	case 4: // it goes on from what was acknowledged, whatever is there
		if was, ok := r.turns[turn{s.Space, s.Seg, s.Producer}]; ok {
			p.Epoch, p.Seq = was.Epoch, was.Seq+1
		}
	case 1, 2:
		p.Seq = max(next, uint64(s.Turn)) - uint64(s.Turn)
	default:
		p.Seq = next + 1
	}
	return p
}

func (r *run) appended(s Step, model, real streamhub.Append) error {
	got, err := r.way.Store(s.By).Append(r.ctx, s.Space, s.Seg, real.Records, real.Options)
	models := []streamhub.Append{model}
	if unknown, bad := r.unknown(s, models, []streamhub.Append{real}, []error{err}); unknown || bad != nil {
		return bad
	}
	r.model.saw = &err
	model = models[0]
	r.expired(&model, got, err)
	want, wantErr := r.model.Append(r.way.Process(s.By), s.Space, s.Seg, model.Records, model.Options)
	return r.answered(s, model.Options, got, err, want, wantErr)
}

// expired ends a segment whose deadline a follower has met, as the answer shows. A repeat is answered as one for as long as
// the segment is there, and another incarnation is found there.
func (r *run) expired(a *streamhub.Append, got streamhub.AppendResult, err error) {
	l := r.model.find(a.Space, a.Segment)
	again := err == nil && got.Repeated || errors.Is(err, streamhub.ErrBatchMismatch) || errors.Is(err, streamhub.ErrUnknownOutcome)
	gone := a.Options.Incarnation != 0 && errors.Is(err, streamhub.ErrNotFound)
	if l != nil && r.met[l.id] && (gone || l.repeats(a.Options, "") && !again) {
		r.model.look(a.Space, a.Segment)
	}
}

// unknown finds out what came of appends that may have been made, and tells the model. It reports
// whether that was all of them.
func (r *run) unknown(s Step, models, reals []streamhub.Append, errs []error) (all bool, err error) {
	r.way.Lose(0, 0, false)
	r.model.fates = map[int]fate{}
	for i, err := range errs {
		if (len(r.model.fates) > 0 || r.slow()) && errors.Is(err, streamhub.ErrUnavailable) {
			r.model.fates[i] = nowhere // it came after one whose outcome is unknown, or the machine is busy
			continue
		}
		var unknown *streamhub.UnknownOutcomeError
		if !errors.As(err, &unknown) {
			continue
		}
		if s.Lose+s.Drop == 0 && !r.slow() && (s.Op != Repeat || !r.way.Remote()) {
			return true, fmt.Errorf("the outcome is unknown, and nothing was lost: %w", err)
		}
		if own := reals[i].Options.TRX; own != uuid.Nil && own != unknown.TRX {
			return true, fmt.Errorf("the error names TRX %v, want %v", unknown.TRX, own)
		}
		made, err := r.made(reals[i], unknown.TRX)
		if err != nil {
			return true, err
		}
		r.model.fates[i] = nowhere
		if made {
			r.model.fates[i] = stored
		}
		for _, a := range []*streamhub.Append{&models[i], &reals[i]} {
			o := *a.Options
			if o.Producer == nil {
				o.TRX = unknown.TRX
			}
			a.Options = &o
		}
		if o := reals[i].Options; o.Producer == nil && !o.CheckOnly {
			r.own = slices.DeleteFunc(r.own, func(a repeatable) bool { return a.store.Options.TRX == o.TRX })
			r.own = append(r.own, repeatable{pair[streamhub.Append]{models[i], reals[i]}, s.By, true, r.model.Now})
		}
	}
	if len(errs) > 1 || len(r.model.fates) == 0 {
		return false, nil
	}
	r.outcome = "unknown_outcome"
	a := models[0]
	got := errs[0]
	if r.model.fates[0] == nowhere {
		_, _ = r.model.Append(r.way.Process(s.By), s.Space, s.Seg, a.Records, a.Options)
		return true, nil
	}
	var none error
	r.model.saw = &none
	if _, err := r.model.Append(r.way.Process(s.By), s.Space, s.Seg, a.Records, a.Options); err != nil {
		return true, fmt.Errorf("it was made though the model refuses it: %v; %w", err, got)
	}
	return true, nil
}

// made looks whether an append was made.
func (r *run) made(a streamhub.Append, trx uuid.UUID) (bool, error) {
	if l := r.model.find(a.Space, a.Segment); l != nil && l.ended == nil && l.hasMade(a.Options.Producer) {
		return false, nil // it was made before
	}
	if len(a.Records) == 0 {
		got, err := r.way.Store(0).Status(r.ctx, a.Space, a.Segment)
		l := r.model.look(a.Space, a.Segment)
		if errors.Is(err, streamhub.ErrNotFound) {
			return false, nil
		}
		return got.State == streamhub.StateClosed && (l == nil || l.closed == nil), err
	}
	entries, err := collect(r.way.Store(0).ConsumeSegment(r.ctx, a.Space, a.Segment, nil))
	r.model.look(a.Space, a.Segment)
	if errors.Is(err, streamhub.ErrNotFound) {
		return false, nil
	}
	return slices.ContainsFunc(entries, func(e streamhub.Entry) bool {
		return e.TRX.ID == trx && string(e.Payload) == string(a.Records[0].Payload)
	}), err
}

// answered compares the answer to an append.
func (r *run) answered(s Step, o *streamhub.AppendOptions, got streamhub.AppendResult, err error, want streamhub.AppendResult, wantErr error) error {
	if (s.Lose+s.Drop > 0 || r.slow()) && o.CheckOnly && errors.Is(err, streamhub.ErrUnavailable) {
		return nil // on a busy machine a few lost replies can take longer than it is retried
	}
	if err := r.failed(err, wantErr, s); err != nil {
		return err
	}
	if (s.Lose > 0 || r.slow()) && got.Repeated {
		want.Repeated = true // the reply to the first attempt was lost, or came late
	}
	if err := r.names.result(got, want); err != nil {
		return err
	}
	if p := o.Producer; err == nil && p != nil && !s.Check {
		r.turns[turn{s.Space, s.Seg, p.ID}] = *p
	}
	if err == nil && !got.Repeated {
		r.see(s.Space, s.Seg, got.Position, want.Position)
		r.times = append(r.times, want.Timestamp)
	}
	if got.Repeated {
		r.outcome = "repeated"
	}
	if err == nil && r.index%4 == 0 && s.Batch == nil {
		// What an append left shows in the status.
		outcome := r.outcome
		defer func() { r.outcome = outcome }()
		return r.status(s)
	}
	return nil
}

func (r *run) repeat(s Step) error {
	own := slices.DeleteFunc(slices.Clone(r.own), func(a repeatable) bool {
		return a.unknown && r.model.Now-a.made > rememberedFor
	})
	if len(own) == 0 {
		return nil
	}
	again := own[len(own)-1-s.At%len(own)]
	a := again.pair
	s.By, s.Space, s.Seg = again.by, a.model.Space, a.model.Segment
	if r.model.unsure(r.way.Process(s.By), s.Space, s.Seg, a.model.Options.TRX) {
		return nil
	}
	if s.Meta && !again.unknown {
		records := append(slices.Clone(a.model.Records), streamhub.Record{Payload: []byte("another")})
		a.model.Records, a.store.Records = records, records
	}
	return r.appended(s, a.model, a.store)
}

func (r *run) appendAll(s Step) error {
	var model, real []streamhub.Append
	for i, part := range s.Batch {
		part.Op, part.By, part.Space = Append, s.By, s.Space
		a := r.append(part)
		for j := range a.model.Records {
			a.model.Records[j].Payload = fmt.Appendf(a.model.Records[j].Payload, "/%d", i)
		}
		model, real = append(model, a.model), append(real, a.store)
	}
	got, errs := r.way.Store(s.By).AppendAll(r.ctx, real)
	if _, err := r.unknown(s, model, real, errs); err != nil {
		return err
	}
	r.model.sawAll = errs
	for i := range model {
		r.expired(&model[i], got[i], errs[i])
	}
	want, wantErrs := r.model.AppendAll(r.way.Process(s.By), model)
	for i := range s.Batch {
		s.Seg = model[i].Segment
		if r.model.fates[i] != told {
			r.outcome = "unknown_outcome"
			if r.model.fates[i] == stored && wantErrs[i] != nil {
				return fmt.Errorf("append %d of %d: it was made though the model refuses it: %w", i+1, len(s.Batch), wantErrs[i])
			}
			continue
		}
		if err := r.answered(s, model[i].Options, got[i], errs[i], want[i], wantErrs[i]); err != nil {
			return fmt.Errorf("append %d of %d: %w", i+1, len(s.Batch), err)
		}
	}
	return r.order(s)
}

// order learns in which order a call took the appends to different segments, which is the store's to
// choose.
func (r *run) order(s Step) error {
	// A deadline that was met in the call lies between its changes or after them.
	var places []int
	for i, c := range r.model.space(s.Space).line {
		if c.together == r.model.call {
			places = append(places, i)
		}
	}
	if len(places) < 2 {
		return nil
	}
	rank := map[string]int{}
	n := 0
	for e, err := range r.way.Store(s.By).ConsumeSpace(r.ctx, s.Space, nil) {
		if err != nil {
			return fmt.Errorf("reading what was appended: %w", err)
		}
		n++
		rank[fmt.Sprint(e.Segment, e.Sequence)] = n
	}
	_, _ = r.model.ConsumeSpace(s.Space, nil) // for the deadlines that the reader has met: the line is longer then
	line := r.model.space(s.Space).line
	var group []*change
	// A change without records comes after the one before it of its segment.
	at, before := map[*change]int{}, map[string]int{}
	for _, place := range places {
		c := line[place]
		if c.first <= c.last {
			before[c.segment] = rank[fmt.Sprint(c.segment, c.first)]
			if before[c.segment] == 0 {
				return fmt.Errorf("reading what was appended: %s %d is missing along the space", c.segment, c.first)
			}
		}
		at[c] = before[c.segment]
		group = append(group, c)
	}
	slices.SortStableFunc(group, func(a, b *change) int { return at[a] - at[b] })
	for i, place := range places {
		line[place] = group[i]
	}
	return nil
}

func (r *run) close(s Step) error {
	v := streamhub.Verdict{Kind: streamhub.VerdictKind(s.Close), Reason: "asked"}
	o := &streamhub.AppendOptions{Generation: uint64(s.Gen)}
	got, err := r.way.Store(s.By).CloseSegment(r.ctx, s.Space, s.Seg, v, o)
	whole := *o
	whole.Close, whole.MustExist = &v, true
	a := streamhub.Append{Space: s.Space, Segment: s.Seg, Options: &whole}
	if unknown, bad := r.unknown(s, []streamhub.Append{a}, []streamhub.Append{a}, []error{err}); unknown || bad != nil {
		return bad
	}
	r.model.saw = &err
	want, wantErr := r.model.CloseSegment(r.way.Process(s.By), s.Space, s.Seg, v, o)
	return r.answered(s, o, got, err, want, wantErr)
}

func (r *run) create(s Step) error {
	b := r.named(s)
	o := streamhub.CreateOptions{
		ContentType: s.Type, TTL: time.Duration(s.TTL) * time.Millisecond, Generation: uint64(s.Gen), Origin: s.Order,
	}
	if s.Fixed && s.TTL > 0 {
		o.TTL, o.ExpiresAt = 0, time.UnixMilli(r.model.Now+int64(s.TTL))
	}
	if s.Close != "" {
		o.Closed = &streamhub.Verdict{Kind: streamhub.VerdictKind(s.Close)}
	}
	for i := range s.N {
		o.Records = append(o.Records, streamhub.Record{Payload: fmt.Appendf(nil, "%d.%d", r.index, i)})
	}
	if s.Op == Fork {
		o.ForkOf = s.Of
		if l := r.model.find(s.Space, s.Of); l != nil && s.At > 0 {
			at := uint64(0)
			if back := uint64(s.At - 1); back < l.last() {
				at = l.last() - back
			}
			o.ForkAt = &at
		}
	}
	model, real := o, o
	if s.Op == Fork {
		model.ForkIncarnation, real.ForkIncarnation = b.incarnation.model, b.incarnation.store
	}
	got, created, err := r.way.Store(s.By).Create(r.ctx, s.Space, s.Seg, &real)
	if r.lost(s, err) {
		// Whether it was created shows in its status. A fork may have been refused before.
		_, err := r.way.Store(s.By).Status(r.ctx, s.Space, s.Seg)
		l := r.model.look(s.Space, s.Seg)
		if err == nil && (l == nil || l.ended != nil) {
			if _, _, err := r.model.Create(r.way.Process(s.By), s.Space, s.Seg, &model); err != nil {
				return fmt.Errorf("it was created though the model refuses it: %w", err)
			}
		}
		t := r.model.process(r.way.Process(s.By)).tail(s.Space, s.Seg)
		t.vague = true
		return nil
	}
	want, wantCreated, wantErr := r.model.Create(r.way.Process(s.By), s.Space, s.Seg, &model)
	if err := r.failed(err, wantErr, s); err != nil || wantErr != nil {
		return err
	}
	r.see(s.Space, s.Seg, got.Position, want.Position)
	return errors.Join(same("answer whether it was created", created, wantCreated), r.sameStatus(s, got, want))
}

// sameStatus compares statuses. Clients of a gateway do not see the origin.
func (r *run) sameStatus(s Step, got, want streamhub.Status) error {
	if r.way.Remote() {
		want.Origin = ""
	}
	if want.Origin == origin && got.Origin != "" {
		want.Origin = got.Origin
	}
	if !got.Kept.IsZero() {
		if got.Kept.Sequence != want.Kept.Sequence {
			return fmt.Errorf("the status keeps what comes after %d, want %d", got.Kept.Sequence, want.Kept.Sequence)
		}
		r.see(s.Space, s.Seg, got.Kept, want.Kept)
	}
	return r.names.status(got, want)
}

func (r *run) delete(s Step) error {
	got := r.way.Store(s.By).Delete(r.ctx, s.Space, s.Seg, "because")
	if !r.lost(s, got) {
		return r.failed(got, r.model.Delete(s.Space, s.Seg, "because"), s)
	}
	var deleted *streamhub.DeletedError
	_, err := r.way.Store(s.By).Status(r.ctx, s.Space, s.Seg)
	l := r.model.look(s.Space, s.Seg)
	if l != nil && l.ended == nil && errors.Is(err, streamhub.ErrNotFound) {
		_ = r.model.Delete(s.Space, s.Seg, "because")
	} else if errors.As(err, &deleted) && (l == nil || l.ended == nil) {
		return fmt.Errorf("it was deleted though the model refuses it: %w", err)
	}
	// The process may not have let go of the parent.
	r.model.Sweep()
	return r.way.Sweep(r.ctx)
}

// slow reports whether the step takes so long that the store may have sent something again.
func (r *run) slow() bool { return time.Since(r.began) > retryFor/2 }

// lost reports whether err is the unknown outcome of a step that loses something, and ends the loss.
func (r *run) lost(s Step, err error) bool {
	r.way.Lose(0, 0, false)
	if s.Lose+s.Drop == 0 && !r.slow() || !errors.Is(err, streamhub.ErrUnknownOutcome) {
		return false
	}
	r.outcome = "unknown_outcome"
	return true
}

func (r *run) trim(s Step) error {
	got, err := r.way.Store(s.By).Trim(r.ctx, s.Space, s.Seg, uint64(s.UpTo))
	if r.lost(s, err) {
		status, err := r.way.Store(s.By).Status(r.ctx, s.Space, s.Seg)
		l := r.model.look(s.Space, s.Seg)
		if err != nil || l == nil || l.ended != nil || status.FirstSequence == l.first {
			return nil // the next step compares
		}
		upTo := uint64(s.UpTo)
		if len(r.model.copies[s.Space]) > 0 {
			upTo = status.FirstSequence - 1 // what is archived is trimmed before what is in Redis
		}
		r.model.kept = status.FirstSequence
		_, err = r.model.Trim(s.Space, s.Seg, upTo)
		return errors.Join(err, same("first sequence kept", status.FirstSequence, l.first))
	}
	if err == nil {
		r.model.kept = got
	}
	want, wantErr := r.model.Trim(s.Space, s.Seg, uint64(s.UpTo))
	if err := r.failed(err, wantErr, s); err != nil || wantErr != nil {
		return err
	}
	return same("first sequence kept", got, want)
}

// options returns the read options of a step.
func (r *run) options(s Step) (model, real *streamhub.ReadOptions) {
	b := r.named(s)
	o := streamhub.ReadOptions{FromSequence: uint64(s.From), ToSequence: uint64(s.To), Limit: uint64(s.Limit)}
	at := func(back int) time.Time {
		if back == 0 || len(r.times) == 0 {
			return time.Time{}
		}
		return r.times[len(r.times)-1-(back-1)%len(r.times)]
	}
	o.After, o.Until = at(s.After), at(s.Until)
	model, real = new(o), new(o)
	model.Cursor, real.Cursor = b.cursor.model, b.cursor.store
	return model, real
}

func collect[T any](items iter.Seq2[T, error]) (list []T, err error) {
	for item, err := range items {
		if err != nil {
			return list, err
		}
		list = append(list, item)
	}
	return list, nil
}

func (r *run) read(s Step) error {
	model, real := r.options(s)
	got, err := collect(r.way.Store(s.By).ConsumeSegment(r.ctx, s.Space, s.Seg, real))
	r.model.saw = &err
	want, wantErr := r.model.ConsumeSegment(s.Space, s.Seg, model)
	if err := r.failed(err, wantErr, s); err != nil {
		return err
	}
	return r.entries(s, got, want)
}

// entries compares what was read and remembers the positions.
func (r *run) entries(s Step, got, want []streamhub.Entry) error {
	if err := r.names.entries(got, want); err != nil {
		return err
	}
	for i := range got {
		segment := s.Seg
		if s.Op == ReadSpace {
			segment = ""
		}
		r.see(s.Space, segment, got[i].Position, want[i].Position)
	}
	return nil
}

func (r *run) readSpace(s Step) error {
	s.Seg = ""
	model, real := r.options(s)
	got, err := collect(r.way.Store(s.By).ConsumeSpace(r.ctx, s.Space, real))
	r.model.saw = &err
	r.model.delivered = len(got)
	limit := model.Limit
	model.Limit = 0
	want, wantErr := r.model.ConsumeSpace(s.Space, model)
	if errors.Is(wantErr, streamhub.ErrTrimmed) {
		// Whether what lies before comes first is the store's to choose, and whether it looks beyond
		// the limit.
		if limit > 0 && uint64(len(want)) >= limit && err == nil {
			wantErr = nil
		} else {
			want = want[:min(len(got), len(want))]
		}
	}
	want = r.model.limited(want, limit)
	if err := r.failed(err, wantErr, s); err != nil {
		return err
	}
	return r.entries(s, got, want)
}

func (r *run) status(s Step) error {
	got, err := r.way.Store(s.By).Status(r.ctx, s.Space, s.Seg)
	want, wantErr := r.model.Status(s.Space, s.Seg)
	if err := r.failed(err, wantErr, s); err != nil || wantErr != nil {
		return err
	}
	r.see(s.Space, s.Seg, got.Position, want.Position)
	return r.sameStatus(s, got, want)
}

func (r *run) peek(s Step) error {
	got, err := r.way.Store(s.By).Peek(r.ctx, s.Space, s.Seg)
	want, wantErr := r.model.Peek(s.Space, s.Seg)
	if err := r.failed(err, wantErr, s); err != nil || wantErr != nil {
		return err
	}
	r.see(s.Space, s.Seg, got.Position, want.Position)
	return r.names.entry(got, want)
}

func (r *run) list(s Step) error {
	got, err := collect(r.way.Store(s.By).Segments(r.ctx, s.Space))
	if err != nil {
		return err
	}
	want, maybe := r.model.Segments(s.Space)
	if err := sameNames(got, want, maybe); err != nil {
		return fmt.Errorf("segments: %w", err)
	}
	end, err := r.way.Store(s.By).SpaceEnd(r.ctx, s.Space)
	if err != nil {
		return err
	}
	wantEnd := r.model.SpaceEnd(s.Space)
	if (end == "") != (wantEnd == "") {
		return fmt.Errorf("the end of the space is %q, want %q", end, wantEnd)
	}
	if end != "" {
		real, err := end.Position()
		if err != nil {
			return err
		}
		model, err := wantEnd.Position()
		if err != nil {
			return err
		}
		r.see(s.Space, "", real, model)
	}
	return nil
}
