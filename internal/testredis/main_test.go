package testredis

import (
	"context"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// within is a context that fails the call under test instead of hanging.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
