package model

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// patience is how long a follower may take to give what is due.
const patience = 20 * time.Second

// A follower is one of a program. A fast one is compared after every step. A slow one holds one entry
// until a step drains it: what it has read meanwhile may be what is not there any more.
type follower struct {
	step   Step
	cancel context.CancelFunc
	items  chan item

	space, segment string
	from           uint64
	// cursor is after what it has seen, or after where it was opened.
	cursor pair[streamhub.Cursor]
	limit  uint64 // entries that it still may get, if limited
	over   bool

	fresh bool // it has seen no entry yet, and had no cursor
	// whole says that it began without a cursor: along a space it is told of what was trimmed since it began. That lies between
	// the moments when opened and began were what was trimmed. unsure says that what was trimmed when is not known.
	whole, unsure bool
	opened, began map[uint64]uint64
	// beginning says that it is to begin at the end of then, and may not have found it yet.
	beginning bool
	// touched says that something was removed since it was opened, rewound that Redis went back.
	touched, rewound bool
	cuts             int // of connections, that it went on after
	// could are what it may have read before that was removed, each from the cursor on, the oldest first. It reads each place
	// once, in order, and gives what was there then.
	could [][]streamhub.Entry
	// ended are the errors that it may have met before they were no more.
	ended []error
}

// An item is what a follower gave.
type item struct {
	entry streamhub.Entry
	err   error
	end   bool
}

// slots is how many followers a program may have at once.
const slots = 4

// follow opens a follower in a slot, in place of the one that is there.
func (r *run) follow(s Step) error {
	r.endFollower(s.At % slots)
	o := streamhub.FollowOptions{FromSequence: uint64(s.From), Live: s.Live, Limit: uint64(s.Limit)}
	f := &follower{step: s, space: s.Space, segment: s.Seg, from: uint64(s.From), limit: uint64(s.Limit), fresh: true, whole: true}
	f.opened = maps.Clone(r.model.server.trims)
	at := s
	if s.Seg == "" {
		at.Op = ReadSpace
	}
	if b := r.named(at); b.cursor.store != "" {
		f.cursor, f.fresh, f.whole = b.cursor, false, false
		o.FromSequence, o.Live, f.from = 0, false, 0
	} else if s.Seg == "" {
		o.FromSequence, f.from = 0, 0
	}
	if o.Live {
		o.FromSequence, f.from = 0, 0
		f.beginning = true
		f.cursor.model = r.end(s)
	}
	o.Cursor = f.cursor.store
	r.start(s, f, &o)
	return r.settle(f)
}

// end is the position of the model after what is followed.
func (r *run) end(s Step) streamhub.Cursor {
	if s.Seg == "" {
		return r.model.SpaceEnd(s.Space)
	}
	l := r.model.find(s.Space, s.Seg)
	if l == nil || l.ended != nil || r.model.due(l) {
		return ""
	}
	return r.model.position(l, l.last(), l.reign).Cursor()
}

func (r *run) start(s Step, f *follower, o *streamhub.FollowOptions) {
	ctx, cancel := context.WithCancel(r.ctx)
	f.cuts = r.cuts
	f.cancel, f.items = cancel, make(chan item)
	var entries iter.Seq2[streamhub.Entry, error]
	if f.segment == "" {
		entries = r.way.Reader(s.By).FollowSpace(ctx, f.space, o)
	} else {
		entries = r.way.Reader(s.By).FollowSegment(ctx, f.space, f.segment, o)
	}
	r.followers[s.At%slots] = f
	go func() {
		defer close(f.items)
		for e, err := range entries {
			select {
			case f.items <- item{entry: e, err: err}:
			case <-ctx.Done():
				return
			}
		}
		select {
		case f.items <- item{end: true}:
		case <-ctx.Done():
		}
	}()
}

// again goes on with a follower whose connection was cut.
func (r *run) again(f *follower) {
	slot := f.step.At % slots
	r.endFollower(slot)
	o := streamhub.FollowOptions{FromSequence: f.from, Cursor: f.cursor.store, Limit: f.limit, Live: f.beginning && f.step.Live}
	if o.Cursor != "" {
		o.FromSequence = 0
	}
	if o.Live {
		f.cursor.model = r.end(Step{Space: f.space, Seg: f.segment})
	}
	r.start(f.step, f, &o)
}

// resume ends the follower of a slot and opens another one after what it has seen.
func (r *run) resume(s Step) error {
	f := r.followers[s.At%slots]
	if f == nil || f.fresh || f.cursor.store == "" {
		return nil
	}
	r.endFollower(s.At % slots)
	s.Space, s.Seg = f.space, f.segment
	own := &follower{step: s, space: f.space, segment: f.segment, cursor: f.cursor}
	r.start(s, own, &streamhub.FollowOptions{Cursor: f.cursor.store})
	return r.settle(own)
}

// endFollower ends the follower of a slot, and waits for it.
func (r *run) endFollower(slot int) {
	f := r.followers[slot]
	if f == nil {
		return
	}
	delete(r.followers, slot)
	f.cancel()
	for range f.items {
		continue // until it has gone
	}
}

// endFollowers ends all of them.
func (r *run) endFollowers() {
	for slot := range maps.Clone(r.followers) {
		r.endFollower(slot)
	}
}

// drain lets a slow follower go on until it has seen all.
func (r *run) drain(s Step) error {
	f := r.followers[s.At%slots]
	if f == nil {
		return nil
	}
	return r.settle(f)
}

// remember notes what a slow follower may have read, before a step that removes some of it.
func (r *run) remember(s Step) {
	switch s.Op {
	case Sweep, Archive, Restore, Rewind, Cut:
		for _, f := range r.followers {
			f.unsure = true
		}
	}
	switch s.Op {
	case Delete, Rewind, Restore, Trim, Wait, Silence, Sweep, Append, AppendAll, Create, Fork, Put, Post, Drop:
	default:
		return
	}
	for _, f := range r.followers {
		switch s.Op {
		case Delete, Rewind, Restore, Trim, Wait, Silence, Sweep, Drop:
			f.touched = true
		}
		if s.Op == Rewind && r.saved != nil || s.Op == Restore {
			f.rewound = true
			// One that has found only a trim may have begun after it, and the trim may be undone now.
			l := r.model.find(f.space, f.segment)
			f.beginning = f.beginning || f.fresh && l != nil && l.first > l.last()
		}
		if !f.step.Slow || f.over {
			continue
		}
		for i, list := range f.could { // with what came since
			more, _ := r.model.Due(f.space, f.segment, f.from, list[len(list)-1].Position.Cursor())
			f.could[i] = append(slices.Clip(list), more...)
		}
		want, err := r.due(f)
		if err != nil {
			f.ended = append(f.ended, err)
		}
		if len(want) > 0 && !slices.ContainsFunc(f.could, func(l []streamhub.Entry) bool { return begins(l, want) }) {
			f.could = append(f.could, want)
		}
	}
}

// begins reports whether a list has all of another one at its start.
func begins(list, start []streamhub.Entry) bool {
	return len(list) >= len(start) && slices.EqualFunc(list[:len(start)], start, func(a, b streamhub.Entry) bool { return a.Position == b.Position })
}

// watched compares the fast followers, and at the end of a program all of them.
func (r *run) watched(all bool) error {
	for slot := range slots {
		f := r.followers[slot]
		if f == nil {
			continue
		}
		for name, l := range r.model.space(f.space).segments {
			if (f.segment == "" || f.segment == name) && r.model.due(l) {
				r.met[l.id] = true
			}
		}
		if f.step.Slow && !all {
			continue
		}
		if err := r.settle(f); err != nil {
			return err
		}
	}
	return nil
}

// due is what a follower gets next.
func (r *run) due(f *follower) ([]streamhub.Entry, error) {
	if f.whole {
		r.model.informed = func(life, sequence uint64) bool { return f.fresh || f.unsure || sequence < f.began[life] }
		defer func() { r.model.informed = nil }()
	}
	return r.model.Due(f.space, f.segment, f.from, f.cursor.model)
}

// settle takes what is due to a follower and compares it.
func (r *run) settle(f *follower) error {
	fail := func(err error) error {
		return fmt.Errorf("follower of slot %d, %s, after %d: %w", f.step.At%slots, Go(f.step), r.model.past[f.cursor.model].sequence, err)
	}
	for !f.over {
		r.model.saw = nil
		want, wantErr := r.due(f)
		limited := f.step.Limit > 0 && f.step.Op == Follow && f.limit == 0
		if len(want) == 0 && wantErr == nil && !limited {
			select {
			case got := <-f.items:
				if err := r.judge(f, got); err != nil {
					return fail(err)
				}
				continue
			default:
				return nil
			}
		}
		wait := patience
		if l := r.model.find(f.space, f.segment); f.beginning || l != nil && r.model.due(l) {
			wait = 300 * time.Millisecond
		}
		timer := time.NewTimer(wait)
		select {
		case got := <-f.items:
			timer.Stop()
			if err := r.judge(f, got); err != nil {
				return fail(err)
			}
		case <-timer.C:
			switch {
			case f.beginning:
				f.could = append(f.could, want)                              // it is slow
				f.cursor.model = r.end(Step{Space: f.space, Seg: f.segment}) // or it began later
				return nil
			case wait < patience:
				return nil
			default:
				return fail(fmt.Errorf("nothing for %v, want %v, %v", wait, sequences(want), wantErr))
			}
		}
	}
	return nil
}

// judge compares what a follower gave.
func (r *run) judge(f *follower, got item) error {
	if got.end {
		f.over = true
		if f.step.Limit > 0 && f.limit == 0 {
			return nil
		}
		return errors.New("it ended without an error")
	}
	if got.err != nil && r.way.Remote() && errors.Is(got.err, streamhub.ErrUnavailable) && streamhub.Retryable(got.err) && f.cuts < r.cuts {
		f.cuts = r.cuts
		r.again(f)
		return nil
	}
	if got.err != nil {
		f.over = true
		r.model.saw = &got.err
		return r.ends(f, got.err)
	}
	want, wantErr := r.due(f)
	lists := append([][]streamhub.Entry{want}, f.could...)
	if f.beginning { // it may have begun later, whichever list it reads from
		for n, list := range lists {
			i := slices.IndexFunc(list, func(e streamhub.Entry) bool { return r.alike(got.entry, e) })
			if i <= 0 {
				continue
			}
			if lists[n] = list[i:]; n > 0 {
				f.could[n-1] = list[i:]
			}
		}
	}
	at := slices.IndexFunc(lists, func(l []streamhub.Entry) bool { return len(l) > 0 && r.alike(got.entry, l[0]) })
	if at < 0 {
		return fmt.Errorf("entry %s of incarnation %d, want %v, %v, or what it has read before, %d lists",
			brief(got.entry), got.entry.Position.Incarnation, sequences(want), wantErr, len(f.could))
	}
	is := lists[at][0]
	if err := r.names.entry(got.entry, is); err != nil {
		return err
	}
	f.could = r.after(f.could, got.entry)
	f.cursor = pair[streamhub.Cursor]{is.Position.Cursor(), got.entry.Position.Cursor()}
	if f.fresh {
		f.began = maps.Clone(r.model.server.trims)
	}
	f.fresh, f.beginning = false, false
	if f.limit > 0 {
		f.limit--
	}
	r.see(f.space, f.segment, got.entry.Position, is.Position)
	return nil
}

// after leaves of lists what an entry may be followed by: the entry was read when a list began with it, or later, and what
// comes after it was not read before.
func (r *run) after(lists [][]streamhub.Entry, e streamhub.Entry) (left [][]streamhub.Entry) {
	began := false
	for _, list := range lists {
		at := slices.IndexFunc(list, func(other streamhub.Entry) bool { return r.alike(e, other) })
		if began = began || at == 0; began && at+1 < len(list) {
			left = append(left, list[at+1:])
		}
	}
	return left
}

// alike reports whether an entry may be the one of the model, without naming anything.
func (r *run) alike(got, want streamhub.Entry) bool {
	if got.Segment != want.Segment || got.Sequence != want.Sequence || string(got.Payload) != string(want.Payload) {
		return false
	}
	// A named producer that repeats a turn in another incarnation has the same TRX id there.
	if life, ok := r.names.lives[want.Position.Incarnation]; ok && life != got.Position.Incarnation {
		return false
	}
	id, ok := r.names.trx[want.TRX.ID]
	return !ok || id == uuid.Nil || id == got.TRX.ID
}

// ends compares the error that ended a follower.
func (r *run) ends(f *follower, got error) error {
	want, wantErr := r.model.Due(f.space, f.segment, f.from, f.cursor.model)
	r.outcome = string(streamhub.CodeOf(got))
	err := sameError(got, wantErr, f.space, f.segment)
	if wantErr == nil {
		err = fmt.Errorf("the error is %w (%s), want none", got, describe(got))
	}
	if err == nil && (len(want) == 0 || errors.Is(got, streamhub.ErrTrimmed)) {
		return r.failed(got, wantErr, Step{Op: Follow, Space: f.space, Seg: f.segment})
	}
	lost, missing := errors.Is(got, streamhub.ErrHistoryLost), errors.Is(got, streamhub.ErrNotFound)
	switch {
	case (f.fresh || f.beginning) && f.touched && (lost || missing || errors.Is(got, streamhub.ErrTrimmed)):
		return nil // it may have been at a place without an entry
	case f.whole && f.segment == "" && errors.Is(got, streamhub.ErrTrimmed) && (f.unsure || r.model.trimmedSince(f.space, f.opened)):
		return nil // a follower reads in pages, and is told of what was trimmed after the first one
	case f.beginning && err == nil && errors.Is(got, streamhub.ErrClosed):
		return nil // it began at the end
	case slices.ContainsFunc(f.ended, func(was error) bool { return sameError(got, was, f.space, f.segment) == nil }):
		return nil // that was so when it looked
	case f.rewound && lost:
		return nil // it may have passed a change without an entry
	case missing && errors.Is(wantErr, streamhub.ErrHistoryLost) && f.touched:
		return nil // it was told of the deletion before there was another one
	case missing && errors.Is(wantErr, streamhub.ErrNotFound) && f.touched && f.step.Slow:
		return nil // the error is about the incarnation that it followed
	}
	if err == nil {
		err = fmt.Errorf("the error is %w before %v", got, sequences(want))
	}
	return err
}
