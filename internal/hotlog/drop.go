package hotlog

import (
	"context"
	"fmt"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// DropSpace removes a space whose segments were deleted: its timeline, what is known of it, and its name. Cursors of
// the space then get [streamhub.ErrHistoryLost]. The error is [streamhub.ErrConflict] if the space has segments. owner
// has claimed the archive of the space, or is nil for a space without archived entries; the error is
// [streamhub.ErrUnavailable] if it has some. A missing space is no error.
func (s *Store) DropSpace(ctx context.Context, space string, owner *ArchiveOwner) (err error) {
	defer func() { err = s.fail("drop space", space, "", err) }()
	if err := streamhub.CheckName("space", space); err != nil {
		return err
	}
	k := keysOf(s.id, space)
	// Deleted segments that only forks could read must be removed first.
	if err := s.sweepDue(ctx, k); err != nil {
		return err
	}
	// The name goes before the rest: a program that creates a segment from now on either writes the name
	// again after that, or is found by the script.
	if err := s.log.conn.ZRem(ctx, spacesKey(s.id), space).Err(); err != nil {
		return redisx.ReadOutcome(err)
	}
	text := ""
	if owner != nil {
		text = owner.String()
	}
	answer, err := s.log.run(ctx, s.log.drop, 4, k.timeline(), k.state(), k.inventory(), k.deadlines(), text)
	switch {
	case err != nil:
	case answer == "+":
		s.log.setFull(k.prefix, false)
		return nil
	case answer == "BUSY":
		err = fmt.Errorf("%w: it has segments: delete them first", streamhub.ErrConflict)
	case answer == "ARCHIVED":
		err = errNoArchive
	default:
		err = archiveError(answer, ArchiveOwner{})
	}
	if listed := s.log.registerSpaces(ctx, []spaceKeys{k}); listed != nil {
		return listed
	}
	return err
}

// Unlist removes the store from the list of stores unless it has spaces.
func (s *Store) Unlist(ctx context.Context) error {
	l := s.log
	empty := func() (bool, error) {
		names, err := l.names(ctx, spacesKey(s.id), "", 1)
		return len(names) == 0, err
	}
	is, err := empty()
	if err == nil && is {
		if err = redisx.ReadOutcome(l.conn.SRem(ctx, storesKey, s.id.String()).Err()); err == nil {
			is, err = empty()
		}
		if err == nil && !is { // a space was created meanwhile
			err = redisx.ReadOutcome(l.conn.SAdd(ctx, storesKey, s.id.String()).Err())
		}
	}
	return s.fail("unlist", "", "", err)
}
