// Package webclient serves the package for the web to pages without a build step. Its source is in js/.
// The server calls it.
package webclient

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // the script
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Path is where pages find the script.
const Path = "/streamhub.js"

// script is js/src/index.ts with all that it imports. `make js` generates it, and `make test-js` compares.
//
//go:embed streamhub.js
var script []byte

var packed = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a valid one
	_, _ = w.Write(script)                                // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
})

var tag = sync.OnceValue(func() string {
	sum := sha256.Sum256(script)
	return hex.EncodeToString(sum[:8])
})

// Serve answers with the script. Pages of every origin may import it; it holds nothing of the gateway's.
func Serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache") // kept, and asked for again: it changes with the gateway
	h.Set("Vary", "Accept-Encoding")
	body, etag := script, `"`+tag()+`"`
	if accepts(r) {
		body, etag = packed(), `"`+tag()+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Etag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // net/http notices a client that is gone, and sends no body after HEAD
}

// accepts reports whether a client takes gzip. One that only refuses it names it with q=0.
func accepts(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return weight == "" || err == nil && q > 0
		}
	}
	return false
}
