package front

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// A Sparse logs events that any client can cause, at a bounded rate: ten lines at once, and then one per second. Each
// line says how many lines were dropped before it. It is safe for concurrent use.
type Sparse struct {
	log   *slog.Logger
	lines *rate.Limiter
	left  atomic.Int64
}

// NewSparse returns a Sparse that writes to log.
func NewSparse(log *slog.Logger) *Sparse {
	return &Sparse{log: log, lines: rate.NewLimiter(1, 10)}
}

// Log writes a line, or drops it if the rate is exceeded.
func (s *Sparse) Log(ctx context.Context, level slog.Level, msg string, args ...any) {
	if !s.log.Enabled(ctx, level) {
		return
	}
	if !s.lines.Allow() {
		s.left.Add(1)
		return
	}
	if left := s.left.Swap(0); left > 0 {
		args = append(args, "left_out", left)
	}
	s.log.Log(ctx, level, msg, args...)
}

// Write logs a line of an [http.Server], for its ErrorLog.
func (s *Sparse) Write(line []byte) (int, error) {
	s.Log(context.Background(), slog.LevelWarn, strings.TrimSpace(string(line)))
	return len(line), nil
}
