package model

import (
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// Create is the answer to a creation by process p.
func (m *Model) Create(p int, space, segment string, o *streamhub.CreateOptions) (streamhub.Status, bool, error) {
	var none streamhub.Status
	if o == nil {
		o = &streamhub.CreateOptions{}
	}
	switch {
	case o.Closed != nil && !m.known(o.Closed.Kind),
		o.TTL > 0 && !o.ExpiresAt.IsZero(),
		o.ForkOf == "" && (o.ForkAt != nil || o.ForkIncarnation != 0),
		o.ForkOf == segment:
		return none, false, streamhub.ErrInvalidArgument
	}
	t := m.process(p).tail(space, segment)
	if o.ForkOf != "" {
		if err := m.forkable(space, o); err != nil {
			if l := m.look(space, segment); l != nil && l.ended == nil && errors.Is(err, streamhub.ErrNotFound) {
				if !m.remote { // its status is read and nothing else
					return m.exists(space, segment, l, o)
				}
				return m.found(t, space, segment, l, o)
			}
			return none, false, err
		}
	}
	l := m.look(space, segment)
	if l != nil && l.held() {
		m.forget(t)
		return none, false, streamhub.ErrConflict
	}
	if l != nil && l.ended == nil {
		return m.found(t, space, segment, l, o)
	}
	m.forget(t)
	l = m.born(space)
	if o.ForkOf != "" {
		m.fork(space, l, o)
	}
	m.settle(space, segment, l)
	l.contentType, l.origin, l.ttl = o.ContentType, o.Origin, o.TTL.Milliseconds()
	l.generation = o.Generation
	if l.ttl > 0 {
		l.deadline = m.Now + l.ttl
	}
	if !o.ExpiresAt.IsZero() {
		l.deadline = millis.Of(o.ExpiresAt)
	}
	if o.Closed != nil {
		l.closed = o.Closed
	}
	l.timestamp, l.reign = m.Now, m.server.reign
	if len(o.Records) == 0 {
		m.took(l)
		m.record(space, segment, l, l.last()+1, l.last(), m.name())
	} else {
		ttl := l.ttl
		m.store(t, space, segment, l, true, o.Records, &streamhub.AppendOptions{Generation: o.Generation}, "", m.batch())
		l.ttl = ttl
	}
	t.life = l.id
	return m.status(space, segment, l), true, nil
}

// found is the answer to the creation of what is there, which the process knows from then on.
func (m *Model) found(t *tail, space, segment string, l *life, o *streamhub.CreateOptions) (streamhub.Status, bool, error) {
	status, created, err := m.exists(space, segment, l, o)
	if t.life != l.id && (err == nil || !m.remote) {
		m.forget(t)
		t.life = l.id
	}
	return status, created, err
}

// exists is the answer to the creation of what is there.
func (m *Model) exists(space, segment string, l *life, o *streamhub.CreateOptions) (streamhub.Status, bool, error) {
	differs := normal(l.contentType) != normal(o.ContentType) ||
		l.ttl != o.TTL.Milliseconds() || l.ttl == 0 && l.deadline != millis.Of(o.ExpiresAt) ||
		(l.closed != nil) != (o.Closed != nil) ||
		l.parent != o.ForkOf || o.ForkAt != nil && *o.ForkAt != l.forkedAt
	if differs && m.keeps(RuleCreateConflict) {
		return streamhub.Status{}, false, streamhub.ErrConflict
	}
	if !m.keeps(RuleCreateOnce) {
		l.closed = nil
		l.timestamp = m.Now
	}
	return m.status(space, segment, l), false, nil
}

// forkable is the error that a fork would end with.
func (m *Model) forkable(space string, o *streamhub.CreateOptions) error {
	l := m.look(space, o.ForkOf)
	if l == nil || l.ended != nil {
		return m.gone(l)
	}
	if o.ForkIncarnation != 0 && o.ForkIncarnation != l.id && m.keeps(RuleForkLife) {
		return streamhub.ErrNotFound
	}
	at := l.last()
	if o.ForkAt != nil {
		at = *o.ForkAt
	}
	switch {
	case at > l.last():
		return streamhub.ErrInvalidArgument
	case at > 0 && at < l.last() && at < l.first:
		return m.trimmed(l)
	}
	return nil
}

// fork gives l what it shares with its parent.
func (m *Model) fork(space string, l *life, o *streamhub.CreateOptions) {
	parent := m.find(space, o.ForkOf)
	at := parent.last()
	if o.ForkAt != nil {
		at = *o.ForkAt
	}
	if !m.keeps(RuleForkInside) {
		for at > 0 && !parent.at(at).ends {
			at++
		}
	}
	if m.keeps(RuleForkShares) {
		l.entries = append(l.entries, parent.entries[:at]...)
	} else if at > 0 {
		l.entries = append(l.entries, parent.entries[:at-1]...)
	}
	l.first = min(parent.first, at+1)
	l.number = parent.number
	if at < parent.last() {
		l.number = 0
		if e := parent.at(at); e != nil {
			l.number = e.number
		}
	}
	l.parent, l.parentLife, l.forkedAt = o.ForkOf, parent.id, at
	if m.keeps(RuleForkHeld) {
		parent.forks[l.id] = at
	}
}

// Delete is the answer to a deletion.
func (m *Model) Delete(space, segment, reason string) error {
	l := m.find(space, segment)
	if l == nil {
		return streamhub.ErrNotFound
	}
	if l.ended != nil && !m.keeps(RuleDeleteOnce) {
		return streamhub.ErrNotFound
	}
	if l.ended == nil {
		m.end(space, segment, l, streamhub.Verdict{Kind: streamhub.VerdictDeleted, Reason: reason})
	}
	return nil
}

// end ends a life. Its parents go with it if they were deleted and only it read them.
func (m *Model) end(space, segment string, l *life, v streamhub.Verdict) {
	l.ended, l.endedAt = &v, m.Now
	m.record(space, segment, l, l.last()+1, l.last(), m.name())
	m.release(space, l)
}

// release lets go of the parent of a life that is gone for good.
func (m *Model) release(space string, l *life) {
	if len(l.forks) > 0 || l.parent == "" {
		return
	}
	parent := m.space(space).segments[l.parent]
	if parent == nil || parent.id != l.parentLife {
		return
	}
	delete(parent.forks, l.id)
	if parent.ended != nil && len(parent.forks) == 0 {
		parent.endedAt = m.Now
		m.release(space, parent)
	}
}

// Sweep does what is due. It must change no answer.
func (m *Model) Sweep() {
	for name, sp := range m.server.spaces {
		for segment := range sp.segments {
			m.look(name, segment)
		}
		if !m.keeps(RuleSweepHarmless) && len(sp.line) > 0 {
			sp.line = sp.line[1:]
		}
	}
}

// Touch is the answer to a touch.
func (m *Model) Touch(space, segment string) (time.Time, error) {
	l := m.look(space, segment)
	if l == nil || l.ended != nil {
		return time.Time{}, m.gone(l)
	}
	// It is written only when a tenth of the time has passed.
	if l.ttl > 0 && float64(l.deadline-m.Now) <= 0.9*float64(l.ttl) && m.keeps(RuleTouch) {
		l.deadline = m.Now + l.ttl
	}
	return millis.Time(l.deadline), nil
}

// Trim is the answer to a trim.
func (m *Model) Trim(space, segment string, upTo uint64) (uint64, error) {
	l := m.look(space, segment)
	if l == nil || l.ended != nil {
		return 0, m.gone(l)
	}
	if l.own == 0 && m.keeps(RuleTrimShared) {
		return l.first, nil
	}
	from := max(l.own, 1)
	if !m.keeps(RuleTrimShared) {
		from = l.first
	}
	keep := uint64(0)
	for s := from; s <= min(upTo, l.last()); s++ {
		e := l.at(s)
		if !e.ends && m.keeps(RuleTrimFrame) {
			continue
		}
		// Appends that came together may share a frame, and only the store knows.
		if next := l.at(s + 1); next != nil && e.joined && next.joined && next.timestamp == e.timestamp && m.kept != 0 && m.kept < s+1 {
			continue
		}
		keep = s + 1
	}
	if keep <= from {
		return l.first, nil
	}
	for _, shared := range l.forks {
		if shared >= l.own && m.keeps(RuleTrimFork) {
			return 0, streamhub.ErrConflict
		}
	}
	l.own, l.first = keep, keep
	m.server.trims[l.id] = keep
	m.record(space, segment, l, l.last()+1, l.last(), m.name())
	return l.first, nil
}

// gone is the error for a life that cannot be read.
func (m *Model) gone(l *life) error {
	if l == nil {
		return streamhub.ErrNotFound
	}
	return &streamhub.DeletedError{Verdict: *l.ended, Held: l.held()}
}
