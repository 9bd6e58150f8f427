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

// registerStore holds the subscriptions of all stores, one space per store. No transport serves this store, so that no
// scope gives access to its keys.
var registerStore = auth.Internal

// A register holds the subscriptions of one store. Each subscription is a segment, and each entry of the segment is one
// step. A step names its expected sequence, so of two concurrent steps one is refused.
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
	// Whole says that this step replaces all earlier ones.
	Whole bool             `json:"whole,omitempty"`
	Links map[string]*link `json:"links,omitempty"` // null removes a link
}

var (
	// errMoved says that a concurrent step was stored first.
	errMoved = errors.New("the subscription has changed meanwhile")
	errNone  = &subscriptionError{code: "SUBSCRIPTION_NOT_FOUND", status: 404, message: "there is no such subscription"}
)

// load returns a subscription, which may be deleted. A subscription that never existed is empty.
func (r register) load(ctx context.Context, id string) (*subscription, error) {
	s := &subscription{links: map[string]*link{}}
	return s, r.update(ctx, id, s)
}

// update applies the newer steps to s. If some of them were trimmed, s is rebuilt: the kept steps always describe the
// whole subscription.
func (r register) update(ctx context.Context, id string, s *subscription) error {
	for {
		err := r.fold(ctx, id, s)
		switch {
		case errors.Is(err, streamhub.ErrTrimmed), errors.Is(err, streamhub.ErrNotFound) && s.sequence > 0:
			*s = subscription{links: map[string]*link{}} // rebuild from the first kept step
		case errors.Is(err, streamhub.ErrNotFound):
			return nil
		default:
			return err
		}
	}
}

// fold reads the steps after s.sequence, and applies them in order.
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

// A written is an entry that Redis may still hold, and the paths of the links that it sets. The last entry that names a
// link determines it.
type written struct {
	sequence uint64
	paths    []string
}

// apply applies the step in the entry at sequence. It also tracks the size of all links and the entries that set them,
// for front.
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

// linkBytes is the approximate size, in bytes, of a link in a step.
func linkBytes(path string) int { return len(path) + 128 }

// stepLimits bound the memory of a subscription in Redis and the size of an append. Every step has the core and the
// changed links. So that the first entries can be trimmed, a step also repeats the links of those entries that are
// still current.
type stepLimits struct {
	entryBytes  int // bytes of links in one entry
	appendBytes int // bytes of links in one append
	entries     int // how many entries are kept in addition to twice the number that the links fill
}

var defaultStepLimits = stepLimits{entryBytes: 64 << 10, appendBytes: 4 << 20, entries: 128}

// front returns the current links of the first entries, except those in changed, and the sequence of the last of these
// entries. They fit into one entry. While the number of entries is within the limits, it returns none.
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

// save stores a step with the core of s and the changed links, or with all links if the subscription begins. After
// that, s is the stored state; after an error it must be loaded again. A new subscription with more links than fit into
// one append counts as deleted until the last append is stored.
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
				c = s.saved // the change becomes visible with the last append
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
		// After a failed trim the entries stay; readers skip over them, and the next step trims them.
		if _, err := r.log.Trim(ctx, r.space, id, trim); err == nil {
			s.entries = slices.DeleteFunc(s.entries, func(e written) bool { return e.sequence <= trim })
		}
	}
	return nil
}

// A stepPart has the links of one entry, and their approximate size in bytes.
type stepPart struct {
	links map[string]*link
	size  int
}

// parts divides links into parts that each fit into one entry. There is always at least one part.
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

// change loads a subscription, calls edit and saves what it returns. If another step was stored meanwhile, it starts
// over, so edit may run several times. If edit returns errSame, nothing is saved.
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
