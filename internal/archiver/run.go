package archiver

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/lease"
)

// The names and limits of a runner. leasePrefix keeps the leases of archivers apart from those of programs in the same
// store.
const (
	leasePrefix = "streamhub/archive/"
	// minLease is the shortest lease. A lease lasts for three turns, or for this if turns are
	// frequent.
	minLease = 30 * time.Second
	// namesPage is how many names one command lists.
	namesPage = 256
	// parallel is how many spaces are worked on at once.
	parallel = 4
	// goodbye bounds the release of a lease.
	goodbye = 2 * time.Second
)

// A Runner archives the spaces of a log. It holds a lease for each space that it archives and leaves
// alone the spaces whose lease another instance holds. It is safe for concurrent use.
type Runner struct {
	tier   *Tier
	log    *hotlog.Log
	leases *lease.Manager

	// mu guards spaces. It is never held during a call to Redis or to the archive.
	mu     sync.Mutex
	spaces map[archive.SpaceID]*space // spaces whose lease this instance holds
}

// Runner returns a runner that moves entries out of log by the policies.
func (t *Tier) Runner(log *hotlog.Log, leases *lease.Manager) *Runner {
	return &Runner{tier: t, log: log, leases: leases, spaces: map[archive.SpaceID]*space{}}
}

// Run takes a turn every [Options.Every] until ctx ends, and then releases its leases.
func (r *Runner) Run(ctx context.Context) {
	defer r.Release(ctx)
	if r.tier.opt.Every < 0 {
		<-ctx.Done()
		return
	}
	// The watcher runs beside the turns, because a turn may last for minutes. Run waits for it;
	// Release comes after it.
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { r.watch(ctx) })
	tick := time.NewTicker(r.tier.opt.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		// Failures are logged and counted, and the next turn retries.
		_ = r.Turn(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

const (
	watchEvery = time.Second
	// watchShare is the smallest ratio of the pause after a look to the duration of the look.
	watchShare = 3
)

// watch checks which spaces are full, more often than turns are taken. For spaces that this instance archives it
// measures the size; for others it reads the state that their archivers have recorded.
func (r *Runner) watch(ctx context.Context) {
	pause := min(watchEvery, r.tier.opt.Every)
	for {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		begin := time.Now()
		r.mu.Lock()
		held := slices.Collect(maps.Values(r.spaces))
		r.mu.Unlock()
		for _, sp := range held {
			if err := sp.watch(ctx, r.tier.policy(sp.id)); err != nil && ctx.Err() == nil {
				r.tier.opt.Logger.Log(ctx, fault.Level(err, slog.LevelWarn), "the size of a space is not known", "store", sp.id.Store, "space", sp.id.Space, "err", err)
			}
		}
		if err := r.log.LookFull(ctx); err != nil && ctx.Err() == nil {
			r.tier.opt.Logger.Log(ctx, fault.Level(err, slog.LevelWarn), "which spaces are full is not known", "err", err)
		}
		pause = max(min(watchEvery, r.tier.opt.Every), watchShare*time.Since(begin))
	}
}

// Turn archives and moves the due entries of every space, up to four spaces at once. Its error joins those of all
// spaces. It returns after every space has ended, also if ctx ends.
func (r *Runner) Turn(ctx context.Context) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs = []error{r.log.LookFull(ctx)}
		free = make(chan struct{}, parallel)
	)
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	if !(*policy)(&r.tier.opt.Policy).moves() && r.tier.opt.PolicyFor == nil {
		return errs[0] // this process has nothing to archive: only the error of listing counts
	}
	stores, err := r.log.Stores(ctx)
	fail(err)
	for _, id := range stores {
		s := r.log.Store(id)
		for after := ""; ctx.Err() == nil; {
			names, err := s.Spaces(ctx, after, namesPage)
			if err != nil || len(names) == 0 {
				fail(err)
				break
			}
			for _, name := range names {
				// The slot is taken here and not in the goroutine, so that names are listed no faster
				// than spaces are worked on.
				free <- struct{}{}
				wg.Go(func() {
					defer func() { <-free }()
					fail(r.Space(ctx, s, name))
				})
			}
			after = names[len(names)-1]
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Space archives and removes the entries that the policy selects in one space. It does nothing if another instance
// archives the space.
func (r *Runner) Space(ctx context.Context, s *hotlog.Store, name string) error {
	id := archive.SpaceID{Store: s.ID(), Space: name}
	policy := r.tier.policy(id)
	if !policy.moves() {
		return nil
	}
	sp, err := r.hold(ctx, s, id)
	if sp == nil {
		if errors.Is(err, streamhub.ErrLeaseNotAcquired) {
			return nil
		}
		return err
	}
	// Turn and Erase may meet at the same space. Both lock it, and only one of them works on it.
	sp.mu.Lock()
	defer sp.mu.Unlock()
	err = sp.turn(ctx, policy)
	if errors.Is(err, errAbsent) {
		r.drop(ctx, sp)
		return nil
	}
	if err != nil && ctx.Err() == nil {
		r.tier.opt.Logger.Log(ctx, fault.Level(err, slog.LevelError), "archiving is paused", "store", id.Store, "space", id.Space, "err", err)
	}
	r.tier.meters.turn(ctx, id, sp.figures, err)
	if err != nil {
		r.drop(ctx, sp) // the next turn begins with a new token
	}
	return err
}

// hold returns the space if this instance holds its lease or can acquire it. Otherwise the error is
// [streamhub.ErrLeaseNotAcquired] if another instance holds it.
func (r *Runner) hold(ctx context.Context, s *hotlog.Store, id archive.SpaceID) (*space, error) {
	r.mu.Lock()
	sp := r.spaces[id]
	r.mu.Unlock()
	if sp != nil {
		return sp, nil
	}
	ttl := max(minLease, 3*r.tier.opt.Every)
	l, err := r.leases.Acquire(ctx, id.Store, leaseKey(id.Space), ttl)
	if err != nil {
		return nil, err
	}
	sp = &space{tier: r.tier, store: s, id: id, lease: l, ttl: ttl}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spaces[id] = sp
	return sp, nil
}

// leaseKey is the key of the lease of a space. A space may have a name as long as a key may be: then
// a digest takes the place of the name, so that the key fits with its prefix.
func leaseKey(space string) string {
	if len(leasePrefix)+len(space) > streamhub.MaxNameLength {
		return leasePrefix + digest(space)
	}
	return leasePrefix + space
}

// drop releases a space. A lease that could not be released in time ends by itself, so the error of the release does
// not matter. The context is detached: the release must work while ctx ends.
func (r *Runner) drop(ctx context.Context, sp *space) {
	r.mu.Lock()
	if r.spaces[sp.id] == sp {
		delete(r.spaces, sp.id)
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	_, _ = sp.lease.Release(ctx) // after an error the lease ends by itself
}

// Release releases all spaces, so that other instances can archive them.
func (r *Runner) Release(ctx context.Context) {
	r.mu.Lock()
	held := make([]*space, 0, len(r.spaces))
	for id, sp := range r.spaces {
		held = append(held, sp)
		r.tier.meters.forget(id)
	}
	r.mu.Unlock()
	for _, sp := range held {
		r.drop(ctx, sp)
	}
}
