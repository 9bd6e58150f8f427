package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
)

// archiveCmd groups the commands for the archive.
type archiveCmd struct {
	Run     archiveRunCmd     `cmd:"" help:"Move old history from Redis to the archive until stopped, or once (--once). serve --archive does that too."`
	Ls      archiveLsCmd      `cmd:"" help:"Write what is archived, one space a line as JSON."`
	Verify  archiveVerifyCmd  `cmd:"" help:"Read all that is archived and check it."`
	Restore archiveRestoreCmd `cmd:"" help:"Bring spaces that Redis has lost back from the archive, into an empty Redis."`
}

// archivePlace has the flags for the archive of a command and the part of it to work on.
type archivePlace struct {
	archiveFlag
	Store *uuid.UUID `placeholder:"UUID" help:"Tenant to look at; all of them if not given."`
	Space string     `arg:"" optional:"" help:"Space to look at; all of them if not given."`
}

// open opens the archive, which the flags must name. With mustExist it does not create one.
func (f *archiveFlag) open(s *session, mustExist bool) (archive.Backend, error) {
	b, err := f.backend(s.ctx, s, mustExist)
	if err == nil && b == nil {
		err = usagef("name the archive with --archive, or set %s", variable("archive"))
	}
	return b, err
}

// each calls visit with every archived space that the flags select.
func (p *archivePlace) each(ctx context.Context, a *archive.Archive, visit func(archive.SpaceID) error) error {
	const page = 256
	found := false
	for after := (archive.SpaceID{}); ; {
		ids, err := a.Spaces(ctx, after, page)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if p.Store != nil && *p.Store != id.Store || p.Space != "" && p.Space != id.Space {
				continue
			}
			found = true
			if err := visit(id); err != nil {
				return err
			}
		}
		if len(ids) < page {
			break
		}
		after = ids[len(ids)-1]
	}
	if !found && (p.Space != "" || p.Store != nil) {
		return streamhub.ErrNotFound
	}
	return nil
}

// A redisPlace is the Redis of a command that works on Redis itself.
type redisPlace struct {
	Redis redisURL `placeholder:"URL" help:"Redis of the hub; $STREAMHUB_REDIS_URL if not given."`
	redisFlags
}

// openCold opens an archive, and a hub with it that archives only on request. The function that it returns closes both.
func openCold(s *session, cold *archiveFlag, hot *redisPlace, policy tier.Policy, mustExist bool) (*hub.Hub, archive.Backend, func(), error) {
	if hot.Redis == "" {
		return nil, nil, nil, usagef("this command works on Redis itself: name it with --redis, or set %s", redisVariable)
	}
	client, err := hot.client(s, string(hot.Redis))
	if err != nil {
		return nil, nil, nil, err
	}
	backend, err := cold.open(s, mustExist)
	if err != nil {
		_ = client.Close()
		return nil, nil, nil, err
	}
	h, err := hub.Open(s.ctx, client, &hub.Options{Archive: backend, Archiving: tier.Options{Policy: policy, Every: -1}, SweepEvery: -1})
	if err != nil {
		_ = client.Close()
		_ = backend.Close()
		return nil, nil, nil, interrupted(s.ctx, failedf("%w", err))
	}
	return h, backend, func() {
		_ = h.Close()
		_ = client.Close()
		_ = backend.Close() // all that was written is on disk
	}, nil
}

type archiveRunCmd struct {
	archiveFlag
	redisPlace
	policyFlags
	Once     bool          `help:"Move what is due now and end."`
	Every    time.Duration `default:"10s" placeholder:"D" help:"How often to look what is due."`
	Progress bool          `default:"true" negatable:"" help:"Show on standard error how many entries were moved, where that is a terminal."`
}

// Run writes how much was moved as its last line.
func (c *archiveRunCmd) Run(s *session) error {
	policy, err := c.policy()
	if err != nil {
		return err
	}
	if c.Every <= 0 {
		return usagef("--every %v: want more than nothing", c.Every)
	}
	h, backend, done, err := openCold(s, &c.archiveFlag, &c.redisPlace, policy, false)
	if err != nil {
		return err
	}
	defer done()
	a := archive.New(backend, nil)
	bar := s.progress(c.Progress, "entries", -1)
	defer bar.finish()
	begin, err := archivedEntries(s.ctx, a)
	for moved := uint64(0); err == nil; {
		failed := h.ArchiveNow(s.ctx)
		now, countErr := archivedEntries(s.ctx, a)
		if s.ctx.Err() != nil {
			_ = json.NewEncoder(s.stdout).Encode(map[string]uint64{"entries": moved})
			return context.Cause(s.ctx)
		}
		if err = countErr; err != nil {
			break
		}
		bar.add(int64(now - begin - moved))
		moved = now - begin
		switch {
		case c.Once:
			return errors.Join(failed, json.NewEncoder(s.stdout).Encode(map[string]uint64{"entries": moved}))
		case failed != nil:
			s.note("archiving is paused and is tried again: %v", failed)
		}
		select {
		case <-time.After(c.Every):
		case <-s.ctx.Done():
		}
	}
	return err
}

// archivedEntries counts the archived entries of all spaces.
func archivedEntries(ctx context.Context, a *archive.Archive) (n uint64, err error) {
	err = new(archivePlace).each(ctx, a, func(id archive.SpaceID) error {
		m, err := a.Manifest(ctx, id)
		n += m.Commit.Entries
		return err
	})
	return n, err
}

type archiveLsCmd struct {
	archivePlace
}

// Run writes a line for each space.
func (c *archiveLsCmd) Run(s *session) (err error) {
	backend, err := c.open(s, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	a := archive.New(backend, nil)
	out := json.NewEncoder(s.stdout)
	spaces, entries, size := 0, uint64(0), uint64(0)
	err = c.each(s.ctx, a, func(id archive.SpaceID) error {
		m, err := a.Manifest(s.ctx, id)
		if err != nil {
			return err
		}
		spaces++
		entries += m.Commit.Entries
		size += m.Commit.Bytes
		return out.Encode(struct {
			Store    uuid.UUID `json:"store"`
			Space    string    `json:"space"`
			Entries  uint64    `json:"entries"`
			Windows  uint64    `json:"windows"`
			Chunks   uint64    `json:"chunks"`
			Bytes    uint64    `json:"bytes"`
			RawBytes uint64    `json:"raw_bytes"`
			Position string    `json:"position"`
		}{id.Store, id.Space, m.Commit.Entries, m.Commit.Window, m.Commit.Chunks, m.Commit.Bytes, m.Commit.RawBytes, m.Commit.Position.String()})
	})
	if err == nil {
		s.note("%d spaces with %d entries in %d bytes", spaces, entries, size)
	}
	return err
}

type archiveVerifyCmd struct {
	archivePlace
	Progress bool `default:"true" negatable:"" help:"Show on standard error how much was read, where that is a terminal."`
}

// Run writes a line for each space and for each damaged object. It fails if there is one.
func (c *archiveVerifyCmd) Run(s *session) (err error) {
	backend, err := c.open(s, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	a := archive.New(backend, nil)
	bar := s.progress(c.Progress, "bytes", -1)
	defer bar.finish()
	out := json.NewEncoder(s.stdout)
	damaged, spaces, entries := 0, 0, uint64(0)
	err = c.each(s.ctx, a, func(id archive.SpaceID) error {
		r, err := a.Verify(s.ctx, id, func(n int) { bar.add(int64(n)) })
		if err != nil {
			return err
		}
		spaces++
		entries += r.Entries
		for _, p := range r.Problems {
			damaged++
			if err := out.Encode(map[string]any{"store": id.Store, "space": id.Space, "key": p.Key, "error": p.Err.Error()}); err != nil {
				return err
			}
		}
		return out.Encode(map[string]any{
			"store": id.Store, "space": id.Space, "windows": r.Windows, "chunks": r.Chunks, "entries": r.Entries, "bytes": r.Bytes,
			"damaged": len(r.Problems), "unused": len(r.Orphans),
		})
	})
	if err == nil {
		s.note("%d spaces with %d entries were read, %d objects are damaged or missing", spaces, entries, damaged)
	}
	if err == nil && damaged > 0 {
		err = failedf("%w: %d objects are damaged or missing", streamhub.ErrCorrupt, damaged)
	}
	return err
}

type archiveRestoreCmd struct {
	archivePlace
	redisPlace
}

// Run writes a line for each restored space.
func (c *archiveRestoreCmd) Run(s *session) error {
	h, backend, done, err := openCold(s, &c.archiveFlag, &c.redisPlace, tier.Policy{}, true)
	if err != nil {
		return err
	}
	defer done()
	out := json.NewEncoder(s.stdout)
	var failed []error // a failure in one space does not stop the others
	spaces, entries := 0, uint64(0)
	err = c.each(s.ctx, archive.New(backend, nil), func(id archive.SpaceID) error {
		r, err := h.RestoreSpace(s.ctx, id)
		if s.ctx.Err() != nil {
			return err
		}
		if err != nil {
			failed = append(failed, err)
			return nil
		}
		spaces++
		entries += r.Entries
		return out.Encode(map[string]any{"store": id.Store, "space": id.Space, "segments": r.Segments, "entries": r.Entries})
	})
	s.note("%d spaces with %d entries were brought back, %d were not", spaces, entries, len(failed))
	return errors.Join(append(failed, err)...)
}
