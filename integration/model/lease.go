package model

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// A right is a lease as Redis keeps it.
type right struct {
	holder string
	token  uint64
	until  int64
}

// rights are the leases of a store, and the last token of each key.
type rights struct {
	held  map[string]right
	token map[string]uint64
}

func newRights() rights { return rights{map[string]right{}, map[string]uint64{}} }

func (m *Model) held(key string) (right, bool) {
	h, ok := m.server.rights.held[key]
	return h, ok && (m.Now < h.until || !m.keeps(RuleLeaseEnds))
}

// AcquireLease is the answer to the acquisition of a lease.
func (m *Model) AcquireLease(key, holder string, ttl time.Duration) (uint64, error) {
	h, ok := m.held(key)
	switch {
	case ok && h.holder == holder:
	case ok && m.keeps(RuleLeaseHeld):
		return 0, &streamhub.LeaseHeldError{Holder: h.holder, Token: h.token, Left: time.Duration(h.until-m.Now) * time.Millisecond}
	default:
		h = right{holder: holder, token: uint64(m.Now) * 1000}
		if m.keeps(RuleLeaseGrows) {
			h.token = max(h.token, m.server.rights.token[key]+1)
		}
	}
	h.until = m.Now + ttl.Milliseconds()
	m.server.rights.held[key], m.server.rights.token[key] = h, h.token
	return h.token, nil
}

// RenewLease is the answer to the renewal of a lease.
func (m *Model) RenewLease(key, holder string, ttl time.Duration) (uint64, error) {
	h, ok := m.held(key)
	if !ok || h.holder != holder {
		return 0, streamhub.ErrLeaseLost
	}
	h.until = m.Now + ttl.Milliseconds()
	m.server.rights.held[key] = h
	return h.token, nil
}

// ReleaseLease is the answer to the release of a lease.
func (m *Model) ReleaseLease(key, holder string) bool {
	h, ok := m.held(key)
	if !ok || h.holder != holder {
		return false
	}
	delete(m.server.rights.held, key)
	return true
}

// lease makes a call about a lease, again if its outcome is unknown: each is safe to repeat.
func (r *run) lease(s Step) error {
	ttl := time.Duration(s.TTL) * time.Millisecond
	store, key := r.way.Store(s.By), s.Seg
	call := func() (token uint64, released bool, err error) {
		switch s.Op {
		case Acquire:
			token, err = store.AcquireLeaseAs(r.ctx, key, s.Producer, ttl)
		case Renew:
			token, err = store.RenewLeaseAs(r.ctx, key, s.Producer, ttl)
		default:
			released, err = store.ReleaseLeaseAs(r.ctx, key, s.Producer)
		}
		return token, released, err
	}
	token, released, err := call()
	if r.lost(s, err) {
		token, released, err = call()
	}
	var want uint64
	var wantReleased bool
	var wantErr error
	switch s.Op {
	case Acquire:
		want, wantErr = r.model.AcquireLease(key, s.Producer, ttl)
	case Renew:
		want, wantErr = r.model.RenewLease(key, s.Producer, ttl)
	default:
		wantReleased = r.model.ReleaseLease(key, s.Producer)
		if s.Lose > 0 {
			wantReleased = released // the one whose reply was lost may have released it
		}
	}
	r.outcome = string(streamhub.CodeOf(err))
	if describe(err) != describe(wantErr) {
		return fmt.Errorf("the error is %v (%s), want %s", err, describe(err), describe(wantErr))
	}
	return errors.Join(same("token", token, want), same("answer whether it was released", released, wantReleased))
}
