// Package console is the page for operators: package server has it on the admin listener, at /.
//
// It is a few files that are part of the binary, and the session of a browser. What they show comes from
// package operate, over the paths that the commands of the binary use too. Nothing is built or fetched
// from elsewhere, and nothing runs while no page is open.
package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

//go:embed assets
var assets embed.FS

const (
	cookie   = "streamhub-console"
	maxToken = 16 << 10
	// policy lets the page run its own files and ask its own server, and nothing else.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

// files are the paths of the console, and their types.
var files = map[string]struct{ name, contentType string }{
	"/":                  {"index.html", "text/html; charset=utf-8"},
	"/console/app.js":    {"app.js", "text/javascript; charset=utf-8"},
	"/console/app.css":   {"app.css", "text/css; charset=utf-8"},
	"/console/uplot.js":  {"uplot.js", "text/javascript; charset=utf-8"},
	"/console/uplot.css": {"uplot.css", "text/css; charset=utf-8"},
	"/console/icon.svg":  {"icon.svg", "image/svg+xml"},
	"/console/LICENSE":   {"uplot.LICENSE", "text/plain; charset=utf-8"},
}

const (
	loginPath  = "/console/login"
	logoutPath = "/console/logout"
	statePath  = "/console/state"
)

// A Console serves the page and its sessions. A session is a signed time, so it survives a restart, and ends with
// the token, or when its page logs out. It is safe for concurrent use.
type Console struct {
	sessions
	digest [sha256.Size]byte // of the token
	open   bool              // there is no token
	write  bool
}

// New returns the console for a token, which a person gives once; with "" it asks for none. Write says
// whether the page offers what changes something.
func New(token string, write bool) *Console {
	return &Console{
		sessions: sessions{ended: map[string]time.Time{}, under: map[string]map[*context.CancelCauseFunc]struct{}{}},
		digest:   sha256.Sum256([]byte(token)), open: token == "", write: write,
	}
}

// Owns reports whether a path is one of the console's, which needs no session.
func (c *Console) Owns(path string) bool {
	_, ok := files[path]
	return ok || path == loginPath || path == logoutPath || path == statePath
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	switch {
	case r.URL.Path == statePath && r.Method == http.MethodGet:
		h.Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"in":`+strconv.FormatBool(c.open || c.Allows(r))+`,"asks":`+strconv.FormatBool(!c.open)+`,"write":`+strconv.FormatBool(c.write)+"}\n")
	case (r.URL.Path == loginPath || r.URL.Path == logoutPath) && r.Method == http.MethodPost:
		if auth.OwnOrigin(r) != nil {
			http.Error(w, "another origin", http.StatusForbidden)
			return
		}
		if r.URL.Path == logoutPath {
			if s, ok := c.sessionOf(r); ok {
				c.end(s)
			}
			c.set(w, r, "", -1)
			return
		}
		c.login(w, r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		data, err := assets.ReadFile("assets/" + f.name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		h.Set("Content-Type", f.contentType)
		_, _ = w.Write(data)
	default:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// login begins a session for the token in the body. Digests are compared, so the time tells nothing.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	token, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxToken))
	if err != nil {
		http.Error(w, "the token is too long", http.StatusRequestEntityTooLarge)
		return
	}
	if got := sha256.Sum256(token); subtle.ConstantTimeCompare(got[:], c.digest[:]) != 1 {
		w.Header().Set("Connection", "close")
		http.Error(w, "this is not the admin token", http.StatusUnauthorized)
		return
	}
	c.set(w, r, c.begin(), int(sessionTime/time.Second))
}

func (c *Console) set(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookie, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	w.WriteHeader(http.StatusNoContent)
}
