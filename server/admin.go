package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"net/http/pprof"
	"os"

	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/console"
	"github.com/seed-147127fe/streamhub/internal/front"
	"github.com/seed-147127fe/streamhub/internal/operate"
)

// Admin returns the handler for operators: the console at /, /metrics if [Options.Metrics] is set,
// /debug/pprof/, and the API of the streamhub commands, for all stores. Serve it on a separate listener,
// because profiles reveal the memory of the process. With an admin token the console asks for the token
// once and keeps a session cookie; other requests carry it as a bearer token.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	if s.opt.Metrics != nil {
		mux.Handle("GET /metrics", s.opt.Metrics)
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", program)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	// The gate before this handler lets in only callers that may see everything.
	operations := operate.NewHandler(operate.New(s.hub), &operate.HandlerOptions{
		View: operate.NewView(s.viewing, s.hub), ReadOnly: !s.opt.AdminWrite, Logger: s.opt.Logger,
	})
	page := console.New(s.opt.AdminToken, s.opt.AdminWrite)
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if operate.Owns(r.URL.Path) { // before the mux, which would clean the path: names may contain any bytes
			operations.ServeHTTP(w, r)
			return
		}
		if page.Owns(r.URL.Path) {
			page.ServeHTTP(w, r)
			return
		}
		// A profile costs CPU time, so a page of another origin must not be able to start one.
		if auth.OwnOrigin(r) != nil {
			http.Error(w, "another origin", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
	switch {
	case s.opt.AdminToken != "":
		handler = withToken(s.opt.AdminToken, page, handler)
	case !s.opt.OpenAdmin:
		handler = s.hosts.Wrap(handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		handler.ServeHTTP(w, r)
		front.LeaveBody(w, r)
	})
}

// program replaces [pprof.Cmdline]: an argument may hold a password, and go tool pprof needs only the name of the
// program.
func program(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, os.Args[0]) // an error means that the client is gone
}

// withToken requires a bearer token or a session cookie of the console; the page of the console itself requires
// neither. It compares digests, so that the timing reveals nothing about the token.
func withToken(token string, page *console.Console, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if page.Owns(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		if operate.Owns(r.URL.Path) {
			if ctx, leave, ok := page.Enter(r); ok {
				defer leave()
				next.ServeHTTP(w, r.WithContext(ctx))
				if errors.Is(context.Cause(ctx), console.ErrEnded) {
					panic(http.ErrAbortHandler) // aborts the response, so that a client does not take a partial answer for a complete one
				}
				return
			}
		}
		got := sha256.Sum256([]byte(auth.Bearer(r)))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Connection", "close")
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
