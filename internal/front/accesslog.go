package front

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

// maxLogPath is how much of a path is logged.
const maxLogPath = 256

// logRequest logs a request that has ended, without its query, which may hold a ticket.
func (g *Gate) logRequest(p *pass, r *http.Request, w *writer, took time.Duration) {
	if g.access == nil {
		return
	}
	p.mu.Lock()
	principal := p.principal
	p.mu.Unlock()
	g.access.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelInfo, "request", slog.String("transport", p.transport), slog.String("remote", r.RemoteAddr),
		subjectOf(principal), slog.String("method", r.Method[:min(len(r.Method), 16)]), slog.String("path", r.URL.Path[:min(len(r.URL.Path), maxLogPath)]),
		slog.Int("status", w.code()), slog.Int64("bytes", w.bytes), slog.Duration("took", took.Round(time.Microsecond)))
}

// logConnection logs a connection that has ended or a handshake that was refused.
func (g *Guest) logConnection(status int, took time.Duration) {
	if g.gate.access == nil {
		return
	}
	g.gate.access.LogAttrs(g.gate.metrics.ctx, slog.LevelInfo, "connection", slog.String("transport", g.dialect.Transport), slog.String("remote", g.request.RemoteAddr),
		subjectOf(g.Principal), slog.Int("status", status), slog.Duration("took", took.Round(time.Microsecond)))
}

// subjectOf returns the subject of a principal, cut to a limit: an issuer may use names of any length.
func subjectOf(p *auth.Principal) slog.Attr {
	if p == nil {
		return slog.Attr{}
	}
	return slog.String("subject", p.Subject[:min(len(p.Subject), 128)])
}
