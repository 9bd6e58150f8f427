package drain

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// TestGroup has what is under way hear of the end, and waited for; nothing begins after it.
func TestGroup(t *testing.T) {
	for name, end := range map[string]func(context.Context, *Group) error{
		"Close": func(_ context.Context, g *Group) error { g.Close(); return nil },
		"Stop":  func(ctx context.Context, g *Group) error { return g.Stop(ctx, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, release, heard, over := New(t.Context()), make(chan struct{}), false, false
				if !g.Go(func() { <-g.Context().Done(); heard = true; <-release }) || !g.Begin() {
					t.Fatal("nothing begins in a new group")
				}
				go func() {
					if err := end(t.Context(), g); err != nil {
						t.Error(err)
					}
					over = true
				}()
				synctest.Wait()
				if !heard || over {
					t.Errorf("heard of the end %v, not waited for %v", heard, over)
				}
				if g.Begin() || g.Go(func() { t.Error("it runs") }) {
					t.Error("something begins in a group that ends")
				}
				close(release)
				synctest.Wait()
				if over {
					t.Error("a caller that has begun is not waited for")
				}
				g.Done()
				synctest.Wait()
				if !over {
					t.Error("it waits for nothing")
				}
				if err := end(t.Context(), g); err != nil {
					t.Errorf("a repeat: %v", err)
				}
			})
		})
	}
}

// TestStopGivesUp has Stop return when its context ends first.
func TestStopGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(t.Context())
		g.Begin()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Stop(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		g.Done()
	})
}
