package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// registerStore holds the subscriptions of every store, in a space each. It is a store of its own
// that no transport serves, so that no scope gives its keys away.
var registerStore = auth.Internal

// A register holds the subscriptions of one store. Each is a segment, and each entry of it one step;
// a step names the sequence that it wants to be, so of two that were made at once one is refused.
type register struct {
	log    *hub.Store
	space  string
	limits *stepLimits
}

func (d *Handler) register(store uuid.UUID) register { return registerOf(d.hub, store) }

func registerOf(h *hub.Hub, store uuid.UUID) register {
	return register{h.Store(registerStore), store.String(), &defaultStepLimits}
}

// A step is the content of one entry of a register.
type step struct {
	core
	// Whole says that nothing before this entry counts.
	Whole bool             `json:"whole,omitempty"`
	Links map[string]*link `json:"links,omitempty"` // null removes one
}

var (
	// errMoved says that another step came first.
	errMoved = errors.New("the subscription has changed meanwhile")
	errNone  = &subscriptionError{code: "SUBSCRIPTION_NOT_FOUND", status: 404, message: "there is no such subscription"}
)

// load returns a subscription, which may be a deleted one. One that never was is empty.
func (r register) load(ctx context.Context, id string) (*subscription, error) {
	s := &subscription{links: map[string]*link{}}
	return s, r.update(ctx, id, s)
}

// update brings s up to date. If steps after the one that s has were trimmed, s is built again: what
// is kept always describes the whole subscription.
func (r register) update(ctx context.Context, id string, s *subscription) error {
	for {
		err := r.fold(ctx, id, s)
		switch {
		case errors.Is(err, streamhub.ErrTrimmed), errors.Is(err, streamhub.ErrNotFound) && s.sequence > 0:
			*s = subscription{links: map[string]*link{}} // begin where it begins now
		case errors.Is(err, streamhub.ErrNotFound):
			return nil
		default:
			return err
		}
	}
}

// fold reads the steps after the one that s has, and applies them in order.
func (r register) fold(ctx context.Context, id string, s *subscription) error {
	var from uint64
	if s.sequence > 0 {
		from = s.sequence + 1
	}
	for e, err := range r.log.ConsumeSegment(ctx, r.space, id, &streamhub.ReadOptions{FromSequence: from}) {
		if err != nil {
			return err
		}
		var next step
		if err := json.Unmarshal(e.Payload, &next); err != nil {
			return fmt.Errorf("%w: subscription %q: %w", streamhub.ErrCorrupt, id, err)
		}
		s.apply(e.Sequence, &next)
	}
	return nil
}

// A written is an entry that Redis may still hold, and the links that it sets. A link counts as the last entry sets it
// that names it.
type written struct {
	sequence uint64
	paths    []string
}

// apply takes the step that the entry at sequence holds. It keeps count of the bytes of all links and
// of the entries that set them, for front.
func (s *subscription) apply(sequence uint64, next *step) {
	if next.Whole {
		s.links, s.size, s.entries = map[string]*link{}, 0, nil
	}
	s.core, s.saved, s.sequence = next.core, next.core, sequence
	at := written{sequence: sequence}
	for path, l := range next.Links {
		if s.links[path] != nil {
			s.size -= linkBytes(path)
		}
		if l == nil {
			delete(s.links, path)
			continue
		}
		l.at = sequence
		s.links[path] = l
		s.size += linkBytes(path)
		at.paths = append(at.paths, path)
	}
	s.entries = append(s.entries, at)
}

// linkBytes is about what a link takes in a step.
func linkBytes(path string) int { return len(path) + 128 }

// stepLimits bound what a subscription takes in Redis and how much travels at once. Every step carries the core,
// and the links that changed. So that the first entries can go, a step also carries again what the first ones hold
// that still counts.
type stepLimits struct {
	entryBytes  int // bytes of links in one entry
	appendBytes int // of links in an append
	entries     int // that are kept besides twice those that the links fill
}

var defaultStepLimits = stepLimits{entryBytes: 64 << 10, appendBytes: 4 << 20, entries: 128}

// front returns the links that the first entries hold and that still count, unless they are among changed, and the last
// of these entries. They are as many as fit into one entry; there are none while few entries hold what does not count.
func (r register) front(s *subscription, changed map[string]*link) (links map[string]*link, last uint64) {
	over := len(s.entries) - r.limits.entries - 2*(s.size/r.limits.entryBytes+1)
	links = map[string]*link{}
	size := 0
	for _, e := range s.entries[:max(over, 0)] {
		for _, path := range e.paths {
			l := s.links[path]
			if _, ok := changed[path]; ok || l == nil || l.at != e.sequence {
				continue
			}
			links[path] = &link{Acked: l.Acked, Lineage: l.Lineage, Explicit: l.Explicit}
			size += linkBytes(path)
		}
		last = e.sequence
		if size >= r.limits.entryBytes/2 {
			break
		}
	}
	return links, last
}

// save makes a step: the core of s as it is now and the links that changed, or, where the subscription begins, all
// that it has. s is then what Redis holds; after an error it has to be loaded again. A subscription that begins
// with more links than fit into one append counts as deleted until the last append is there.
func (r register) save(ctx context.Context, id string, s *subscription, changed map[string]*link) error {
	whole := s.sequence == 0 || s.Deleted || s.begins
	kept, trim := map[string]*link{}, s.sequence
	if !whole {
		kept, trim = r.front(s, changed)
		for path, l := range kept {
			if s.gone != nil && !l.Explicit && s.gone(path) {
				kept[path] = nil
			}
		}
	}
	if s.Deleted {
		changed = nil
	}
	first := uint64(0)
	parts := r.parts(changed, kept)
	for len(parts) > 0 {
		n, size := 0, 0
		for n < len(parts) && (n == 0 || size+parts[n].size <= r.limits.appendBytes) {
			size += parts[n].size
			n++
		}
		c := s.core
		if n < len(parts) {
			if !whole {
				c = s.saved // what changes is visible once all of it is there
			} else {
				c = core{Deleted: true, Generation: s.Generation}
			}
		}
		steps := make([]step, n)
		records := make([]streamhub.Record, n)
		for i := range steps {
			steps[i] = step{core: c, Whole: whole && first == 0 && i == 0, Links: parts[i].links}
			payload, err := json.Marshal(&steps[i])
			if err != nil {
				return err
			}
			records[i].Payload = payload
		}
		result, err := r.log.Append(ctx, r.space, id, records, &streamhub.AppendOptions{ExpectedSequence: s.sequence + 1})
		if errors.Is(err, streamhub.ErrSequenceMismatch) {
			return errMoved
		}
		if err != nil && !errors.Is(err, streamhub.ErrNotConfirmed) {
			return err
		}
		final := s.core
		for i := range steps {
			s.apply(result.First+uint64(i), &steps[i])
		}
		s.saved, s.core = s.core, final
		if first == 0 {
			first = result.First
		}
		parts = parts[n:]
	}
	s.begins = false
	if trim > 0 {
		// What stays is read over, and the next step removes it.
		if _, err := r.log.Trim(ctx, r.space, id, trim); err == nil {
			s.entries = slices.DeleteFunc(s.entries, func(e written) bool { return e.sequence <= trim })
		}
	}
	return nil
}

// A stepPart is what one entry holds of the links, and about how many bytes that takes.
type stepPart struct {
	links map[string]*link
	size  int
}

// parts divides links into what an entry holds; there is always one part.
func (r register) parts(all ...map[string]*link) []stepPart {
	parts := []stepPart{{links: map[string]*link{}}}
	for _, links := range all {
		for path, l := range links {
			at := &parts[len(parts)-1]
			if at.size += linkBytes(path); at.size > r.limits.entryBytes && len(at.links) > 0 {
				at.size -= linkBytes(path)
				parts = append(parts, stepPart{links: map[string]*link{}, size: linkBytes(path)})
				at = &parts[len(parts)-1]
			}
			at.links[path] = l
		}
	}
	return parts
}

// change loads a subscription, calls edit and saves what it returns. If another step came in between,
// it begins again, so edit may run several times. errSame leaves everything as it is.
func (r register) change(ctx context.Context, id string, edit func(s *subscription) (map[string]*link, error)) error {
	for {
		s, err := r.load(ctx, id)
		if err != nil {
			return err
		}
		changed, err := edit(s)
		if errors.Is(err, errSame) {
			return nil
		}
		if err == nil {
			err = r.save(ctx, id, s, changed)
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

var errSame = errors.New("nothing changes")
