package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/importer"
	"github.com/seed-147127fe/streamhub/internal/streamz"
)

// sourceCA is the flag for the certificate authorities of the source.
const sourceCA = "source-tls-ca"

// importCmd writes to Redis directly, like archive restore, because through a gateway entries would get new timestamps.
type importCmd struct {
	redisPlace
	Source      string        `arg:"" name:"url" help:"Address of the streamkit server as its clients are given it: ws://host:port or wss://host."`
	Space       string        `arg:"" optional:"" help:"Space to bring; all of the store if not given."`
	Store       uuid.UUID     `default:"00000000-0000-0000-0000-000000000000" placeholder:"UUID" help:"Store to bring; it keeps its id."`
	SourceToken string        `placeholder:"JWT" help:"Token for the streamkit server."`
	SourceTLSCA string        `name:"source-tls-ca" placeholder:"FILE" help:"Authorities to trust for the streamkit server in place of the system's, in PEM."`
	SourceWait  time.Duration `default:"1m" placeholder:"D" help:"How long to connect to the streamkit server again when a connection to it ends."`
	Until       time.Time     `placeholder:"TIME" help:"Leave out what is later, as 2026-01-02T15:04:05Z: for a first run while programs still write to the source."`
	Progress    bool          `default:"true" negatable:"" help:"Show on standard error how many entries were read, where that is a terminal."`
}

// Run writes a line for each skipped entry and each space. The last line of standard error is a summary.
func (c *importCmd) Run(s *session) (err error) {
	if u, err := url.Parse(c.Source); err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		return usagef("%q is no address of a streamkit server: write ws://host:port or wss://host", c.Source)
	}
	if c.Redis == "" {
		return usagef("this command works on Redis itself: name it with --redis, or set %s", redisVariable)
	}
	authorities, err := authoritiesOf(sourceCA, c.SourceTLSCA)
	if err != nil {
		return err
	}
	transport := transportTo(authorities)
	defer transport.CloseIdleConnections()
	src := importer.Source{Store: c.Store}
	way := &streamz.Options{
		HTTPClient: &http.Client{Transport: transport},
		Patience:   c.SourceWait,
		Lost:       func(err error) { s.note("connecting again for up to %s: %v", c.SourceWait, err) },
		Back:       func() { s.note("connected again") },
	}
	for _, server := range []**streamz.Server{&src.Scan, &src.Look} {
		if *server, err = streamz.Open(s.ctx, c.Source, c.SourceToken, way); err != nil {
			return interrupted(s.ctx, err)
		}
		defer (*server).Close()
	}
	client, err := c.client(s, string(c.Redis))
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	h, err := hub.Open(s.ctx, client, &hub.Options{SweepEvery: -1})
	if err != nil {
		return failedf("%w", err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	spaces, err := src.Look.Spaces(s.ctx, c.Store)
	switch {
	case err != nil:
		return interrupted(s.ctx, err)
	case c.Space != "" && !slices.Contains(spaces, c.Space):
		return failedf("the store %s of the streamkit server has no space %q: --store names another store", c.Store, c.Space)
	case c.Space != "":
		spaces = []string{c.Space}
	case len(spaces) == 0:
		s.note("the store %s of the streamkit server has no space: --store names another store", c.Store)
	}
	var total importer.Result
	var refused error // spaces that the hub cannot import; the others are imported all the same
	brought, left, begun := 0, 0, time.Now()
	for _, space := range spaces {
		r, err := c.bring(s, src, h.Store(c.Store), space)
		if err != nil {
			switch {
			case s.ctx.Err() != nil:
				s.note("not everything came: start it again, it goes on after what is stored")
				return &statusError{code: exitInterrupted} // after any signal: a partial import is not a success
			case errors.Is(err, streamhub.ErrConflict):
				refused = errors.Join(refused, err)
				continue
			case errors.Is(err, streamhub.ErrUnauthenticated):
				s.note("not everything came: start it again with a --source-token that is valid, it goes on after what is stored")
			case streamhub.Retryable(err), errors.Is(err, streamhub.ErrHistoryLost):
				s.note("not everything came: start it again, it goes on after what is stored")
			}
			return err
		}
		brought++
		total.Segments += r.Segments
		total.Entries += r.Entries
		total.Imported += r.Imported
		total.Later += r.Later
		left += len(r.Left)
	}
	s.note("%d spaces with %d segments and %d entries are equal, entry by entry; %d of them came now, in %s; %d were left out, the source has %d later ones",
		brought, total.Segments, total.Entries, total.Imported, time.Since(begun).Round(time.Millisecond), left, total.Later)
	if total.Later > 0 && c.Until.IsZero() {
		s.note("programs write to the source: stop them, and start it again for the rest")
	}
	if refused != nil {
		s.note("spaces that differ stay as they are: to bring one, name a Redis that has nothing of it")
		return &statusError{exitConflict, refused}
	}
	return nil
}

// bring imports a space and writes its lines.
func (c *importCmd) bring(s *session, src importer.Source, store streamhub.Store, space string) (importer.Result, error) {
	var bar *progress
	defer func() { bar.finish() }()
	r, err := importer.Space(s.ctx, src, store, space, &importer.Options{
		Until: c.Until,
		Phase: func(name string) {
			bar.finish()
			bar = s.progress(c.Progress, name+" "+oneLine(space), -1)
		},
		Progress: func(n int64) { bar.add(n) },
	})
	if err != nil {
		return r, err
	}
	out := json.NewEncoder(s.stdout)
	for _, l := range r.Left {
		if err := out.Encode(map[string]any{
			"store": c.Store, "space": space, "segment": l.Segment, "sequence": l.Sequence, "timestamp": l.Timestamp, "trx": l.TRX,
			"left_out": "the segment has another entry with this sequence",
		}); err != nil {
			return r, err
		}
	}
	return r, out.Encode(map[string]any{
		"store": c.Store, "space": space, "segments": r.Segments, "entries": r.Entries, "imported": r.Imported, "left_out": len(r.Left), "later": r.Later,
	})
}
