package archiver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/lease"
)

// A space is a space that this instance archives while it holds the lease. After any failed turn it is dropped and a
// new one is made, with a new token and with a writer that has read the manifest again.
type space struct {
	tier  *Tier
	store *hotlog.Store
	id    archive.SpaceID
	lease *lease.Lease
	// ttl is the length of the lease; trust renews it when a third is left.
	ttl time.Duration

	// mu serializes turns, and an erase. It guards writer, pressed and figures.
	mu     sync.Mutex
	writer *archive.Writer // nil before the first turn
	// pressed is the answer of policy.pressed after the last measurement; see there for its
	// hysteresis.
	pressed bool
	figures Figures
	// touched names the segments of the windows that were archived since the last move. Archiving changes what may
	// leave, but the timeline does not name them, so the table must be told.
	touched []string

	// table has a lock of its own: turns and the watcher both bring it up to date.
	table table

	// limit guards full and told. It is apart from mu, because the watcher reports a full space while
	// a turn holds mu for minutes.
	limit sync.Mutex
	// full is the last answer of policy.full. told says that Redis has recorded it; a report that
	// failed is sent again at the next look.
	full bool
	told bool
}

// digest is the SHA-256 of a name in 64 hexadecimal digits.
func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// owner is what the scripts in Redis compare: a later claim has a higher token and fences this one
// off.
func (s *space) owner() hotlog.ArchiveOwner {
	return hotlog.ArchiveOwner{Token: s.lease.Token(), Holder: s.lease.Holder()}
}

// turn archives window after window and removes the entries from Redis that the policy selects. After an error the
// caller drops the space.
func (s *space) turn(ctx context.Context, policy *policy) error {
	if err := s.trust(ctx); err != nil {
		return err
	}
	if s.writer == nil {
		if err := s.claim(ctx); err != nil {
			return err
		}
	}
	// One time for the whole turn: entries that are appended during it wait for the next one, so that a turn ends.
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	if err := s.move(ctx, policy, now); err != nil { // moves entries that an earlier archiver has archived and left
		return err
	}
	for {
		if err := s.trust(ctx); err != nil {
			return err
		}
		until, err := s.due(ctx, policy, now)
		if err != nil || until == 0 {
			return err
		}
		more, err := s.window(ctx, until)
		if err != nil {
			return err
		}
		if err := s.move(ctx, policy, now); err != nil {
			return err
		}
		if !more && !s.pressed {
			return nil
		}
	}
}

// trust renews the lease when less than a third of it is left. The turn ends if the lease is lost, or if it has expired
// and the renewal failed. A failed renewal in between is not an error: the next call repeats it.
func (s *space) trust(ctx context.Context) error {
	left := time.Until(s.lease.TrustedUntil())
	if left > s.ttl/3 {
		return nil
	}
	if err := s.lease.Renew(ctx); err != nil && (left <= 0 || errors.Is(err, streamhub.ErrLeaseLost)) {
		return err
	}
	return nil
}

// due returns the time up to which history is to be archived now, in Unix milliseconds, or 0 if nothing is due. A space
// under pressure archives everything, because only archived entries can leave.
func (s *space) due(ctx context.Context, policy *policy, now int64) (until int64, err error) {
	position := s.writer.Commit().Position
	oldest, err := s.store.OldestAfter(ctx, s.id.Space, position)
	if err != nil || oldest.IsZero() {
		s.figures.Lag = 0
		return 0, err
	}
	until = policy.copyBound(now, int64(oldest.MS))
	s.figures.Lag = 0
	if until > 0 {
		s.figures.Lag = until - int64(oldest.MS)
	}
	if s.pressed {
		return math.MaxInt64, nil
	}
	return until, nil
}

// window archives the window after the last one and reports whether there is another one. The order protects the data:
// the window is durable before it is recorded in Redis, and recorded in Redis before any entry is removed. After a
// crash between two steps, reconcile continues.
func (s *space) window(ctx context.Context, until int64) (more bool, err error) {
	after := s.writer.Commit().Position
	hot, err := s.store.ReadWindow(ctx, s.id.Space, after, until, s.tier.opt.WindowBytes)
	if err != nil || len(hot.Changes) == 0 {
		return false, err
	}
	w := &archive.Window{After: after, To: hot.To, Changes: hot.Changes, Meta: hot.Meta}
	var chunks []*archive.Chunk
	entries := uint64(0)
	for i := range hot.Segments {
		g := &hot.Segments[i]
		part := archive.Part{Segment: g.Segment, Incarnation: g.Incarnation, Proof: g.Proof, Meta: g.Meta}
		cut := s.chunks(g)
		for _, c := range cut {
			part.Chunks = append(part.Chunks, c.Range())
			entries += c.Last() - c.First() + 1
		}
		chunks = append(chunks, cut...)
		w.Parts = append(w.Parts, part)
	}
	if err := s.writer.Write(ctx, w, chunks); err != nil {
		return false, err
	}
	s.tier.meters.moved.Add(ctx, int64(entries))
	if err := s.commit(ctx, w); err != nil {
		return false, err
	}
	for i := range w.Parts {
		s.touched = append(s.touched, w.Parts[i].Segment)
	}
	return hot.More, s.prune(ctx, w)
}

// chunks divides the frames of a segment into chunks of about ChunkBytes. A frame is never divided,
// so that a chunk begins and ends with a whole append.
func (s *space) chunks(g *hotlog.WindowSegment) []*archive.Chunk {
	var chunks []*archive.Chunk
	var c *archive.Chunk
	size := 0
	for i := range g.Frames {
		if c == nil || size >= s.tier.opt.ChunkBytes {
			c = &archive.Chunk{Segment: g.Segment, Incarnation: g.Incarnation, FirstTRX: g.IDs[i][0]}
			chunks = append(chunks, c)
			size = 0
		}
		c.Frames, c.LastTRX = append(c.Frames, g.Frames[i]), g.IDs[i][1]
		size += len(g.Frames[i].Data)
	}
	return chunks
}

// commit records in Redis that a window is archived. The script compares the proof of each segment
// with the log: [streamhub.ErrHistoryLost] says that Redis has other entries than were archived.
func (s *space) commit(ctx context.Context, w *archive.Window) error {
	var segments []hotlog.ArchivedSegment
	for i := range w.Parts {
		if p := &w.Parts[i]; p.Last() > 0 {
			segments = append(segments, hotlog.ArchivedSegment{
				Segment: p.Segment, Incarnation: p.Incarnation, First: p.Chunks[0].First, Last: p.Last(), Proof: p.Proof,
			})
		}
	}
	return s.store.CommitArchive(ctx, s.id.Space, s.owner(), w.To, segments)
}

// prune removes the entries from the archive that the changes of a window trimmed or deleted. It uses the present state
// in Redis, not the state at the change, so pruning a window again after a crash does no harm.
func (s *space) prune(ctx context.Context, w *archive.Window) error {
	seen := map[string]bool{}
	for i := range w.Changes {
		c := &w.Changes[i]
		if c.Kind != 't' && c.Kind != 'd' || seen[c.Segment] {
			continue
		}
		seen[c.Segment] = true
		life, err := s.store.Life(ctx, s.id.Space, c.Segment)
		if err != nil {
			return err
		}
		// The segment was deleted, but forks still read it.
		if life.Held {
			continue
		}
		if err := s.writer.Prune(ctx, c.Segment, life.Incarnation, life.First); err != nil {
			return err
		}
	}
	return nil
}

// move removes the archived entries from Redis that the policy selects, and measures the rest. It measures again after
// entries were moved, because that may end the pressure.
func (s *space) move(ctx context.Context, policy *policy, now int64) error {
	bytes, err := s.measure(ctx, policy, s.touched)
	if err != nil {
		return err
	}
	s.touched = nil
	s.pressed = policy.pressed(bytes, s.pressed)
	moved, err := s.moveDue(ctx, policy, now)
	if err != nil {
		return err
	}
	// Followers look for their place in the timeline, so its recent part stays for a while.
	keep := s.writer.Commit().Position
	if recent := uint64(now - s.tier.opt.Recent.Milliseconds()); !s.pressed && keep.MS > recent {
		keep = streamhub.TimelineID{MS: recent}
	}
	if !keep.IsZero() {
		if err := s.store.TrimTimeline(ctx, s.id.Space, s.owner(), keep); err != nil {
			return err
		}
	}
	if len(moved) > 0 {
		if bytes, err = s.measure(ctx, policy, moved); err != nil {
			return err
		}
		s.pressed = policy.pressed(bytes, s.pressed)
	}
	s.figures.Hot, s.figures.Archived = bytes, int64(s.writer.Commit().Bytes)
	s.figures.Full, err = s.tell(ctx, policy, bytes)
	return err
}

// moveDue removes the due entries from Redis, and returns the segments from which it has moved any.
func (s *space) moveDue(ctx context.Context, policy *policy, now int64) (moved []string, err error) {
	// A segment that is corrupt does not stop the others. The turn still fails, after all were tried.
	var failed []error // errors of single segments, which do not stop the others
	for page := range slices.Chunk(s.table.due(now, s.pressed), namesPage) {
		found, err := s.store.Hot(ctx, s.id.Space, page, false)
		if err != nil {
			return nil, err
		}
		for i := range found {
			h := &found[i]
			upTo, until := policy.cut(h, now, s.pressed)
			if upTo < h.First {
				continue
			}
			first, err := s.store.MoveCold(ctx, s.id.Space, s.owner(), *h, upTo, until)
			switch {
			case errors.Is(err, streamhub.ErrNotFound), errors.Is(err, streamhub.ErrHistoryLost), errors.Is(err, streamhub.ErrTrimmed):
				// The segment was deleted, replaced or trimmed meanwhile; the next turn sees its new state.
			case errors.Is(err, streamhub.ErrCorrupt), errors.Is(err, streamhub.ErrConflict):
				failed = append(failed, err)
			case err != nil:
				return nil, err
			case first > h.First:
				moved = append(moved, h.Segment)
			default:
				s.table.stuck(h, now)
			}
		}
	}
	return moved, errors.Join(failed...)
}

// tell records in Redis whether the space is full, by its size in bytes, so that appends to it are refused or admitted.
func (s *space) tell(ctx context.Context, policy *policy, bytes int64) (full bool, err error) {
	s.limit.Lock()
	defer s.limit.Unlock()
	full = policy.full(bytes, s.full)
	if full == s.full && s.told {
		return full, nil
	}
	err = s.store.SetFull(ctx, s.id.Space, full)
	s.full, s.told = full, err == nil
	return full, err
}

// watch measures the space between turns and during them: a space may fill up in less time than a
// turn takes.
func (s *space) watch(ctx context.Context, policy *policy) error {
	if policy.HotBytes == 0 {
		return nil
	}
	bytes, err := s.measure(ctx, policy, nil)
	if err == nil {
		_, err = s.tell(ctx, policy, bytes)
	}
	return err
}

// measure returns the size of the space in Redis in bytes, or 0 if the policy does not need it. It also brings the
// table up to date: see [table.refresh].
func (s *space) measure(ctx context.Context, policy *policy, also []string) (int64, error) {
	bytes, err := s.table.refresh(ctx, s, policy, also)
	if err != nil || policy.HotBytes == 0 {
		return 0, err
	}
	timeline, err := s.store.TimelineBytes(ctx, s.id.Space)
	return bytes + timeline, err
}

// claim makes this instance the archiver of the space. Redis comes first: it fences off the earlier archiver and
// returns the lineage. Then the archive is claimed with the same token. Finally both are brought to the same place.
func (s *space) claim(ctx context.Context) error {
	state, err := s.store.ClaimArchive(ctx, s.id.Space, s.owner(), false)
	if errors.Is(err, streamhub.ErrNotFound) {
		return s.absent(ctx)
	}
	if err != nil {
		return err
	}
	if s.writer, err = s.tier.archive.Claim(ctx, s.id, s.archiveOwner(&state)); err != nil {
		return err
	}
	if err := s.reconcile(ctx, &state); err != nil {
		s.writer = nil
		return err
	}
	return nil
}

// archiveOwner returns the owner of the archive of the space while the lease lasts.
func (s *space) archiveOwner(state *hotlog.ArchiveState) archive.Owner {
	return archive.Owner{Token: s.lease.Token(), Lineage: state.Lineage, Holder: s.lease.Holder()}
}

// errAbsent says that there is nothing to archive.
var errAbsent = errors.New("there is nothing of the space in Redis")

// absent returns the error for a space that is missing in Redis. If the archive has nothing either, the space is
// empty: errAbsent. Otherwise Redis has lost it, and only a restore may go on.
func (s *space) absent(ctx context.Context) error {
	m, err := s.tier.archive.Manifest(ctx, s.id)
	switch {
	case errors.Is(err, streamhub.ErrNotFound), err == nil && m.Commit.Window == 0:
		return errAbsent
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: the archive reaches %s and Redis has nothing of the space: restore it", streamhub.ErrConflict, m.Commit.Position)
}

// reconcile brings Redis and the archive to the same place after a crash or a failover. Redis may
// know fewer windows than the archive has: those whose entries are still in Redis are recorded there,
// the others are dropped from the archive. The opposite, a place known to Redis that the archive does
// not reach, means that the archive has lost data: it is a [streamhub.ErrConflict] for an operator.
func (s *space) reconcile(ctx context.Context, state *hotlog.ArchiveState) error {
	known := state.Position
	last := s.writer.Commit()
	switch {
	case known == last.Position:
		if last.Window == 0 {
			return nil
		}
		// The earlier archiver may have died before it removed the entries that this window trimmed or deleted.
		w, err := s.tier.archive.Number(ctx, s.id, last.Window)
		if err != nil {
			return err
		}
		return s.prune(ctx, w)
	case last.Position.Before(known):
		return fmt.Errorf("%w: Redis was told that the archive reaches %s, but it ends at %s", streamhub.ErrConflict, known, last.Position)
	case state.First.IsZero():
		return fmt.Errorf("%w: the archive reaches %s and Redis has nothing of the space: restore it", streamhub.ErrConflict, last.Position)
	}
	// good is the number of the last window on which both agree; windows count from 1.
	good := uint64(0)
	if !known.IsZero() {
		w, err := s.tier.archive.Window(ctx, s.id, known)
		if err != nil {
			return err
		}
		if w.To != known {
			return fmt.Errorf("%w: Redis was told that the archive reaches %s, where no window ends", streamhub.ErrConflict, known)
		}
		good = w.Number
	}
	// Entries after the place that Redis knows never left it, so they are there unless they were lost.
	_, lost := s.store.ReadWindow(ctx, s.id.Space, last.Position, 1, 1)
	for n := good + 1; n <= last.Window && lost == nil; n++ {
		w, err := s.tier.archive.Number(ctx, s.id, n)
		if err != nil {
			return err
		}
		if lost = s.commit(ctx, w); lost == nil {
			good = n
			if err := s.prune(ctx, w); err != nil {
				return err
			}
		}
	}
	if lost == nil || !errors.Is(lost, streamhub.ErrHistoryLost) {
		return lost
	}
	if good == 0 {
		return fmt.Errorf("%w: the archive reaches %s and Redis has another history of the space", streamhub.ErrConflict, last.Position)
	}
	s.tier.opt.Logger.Warn("Redis has lost what was archived; it is archived again from there on",
		"store", s.id.Store, "space", s.id.Space, "window", good, "position", last.Position)
	return s.writer.Rewind(ctx, good)
}
