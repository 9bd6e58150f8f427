package durable

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

const (
	streams  = "/v1/stream/"
	stores   = "/stores/"
	reserved = "__ds" // the first element of paths that are not streams

	defaultSpace = "default"
)

// A root is the base path of the streams of a store.
type root struct {
	store *hub.Store
	path  string // up to and including /v1/stream/; begins and ends with a slash
	base  string // scheme and host, for the URLs that are sent to clients
}

// url returns the path of a stream below the root, escaped as in a request.
func (o *root) url(path string) string {
	return o.base + (&url.URL{Path: o.path + path}).EscapedPath()
}

// A stream is the segment that a URL names.
type stream struct {
	*root
	path           string // under the root
	space, segment string
}

// right returns the right to read the stream or to write to it.
func (s *stream) right(write bool) streamhub.Right {
	return streamhub.Right{Store: s.store.ID(), Space: s.space, Segment: s.segment, Write: write}
}

// route splits the path of a request. It works on the decoded path, so %2F is a slash.
func (d *Handler) route(r *http.Request) (*root, string, error) {
	path, ok := strings.CutPrefix(r.URL.Path, d.opt.Prefix)
	if !ok {
		return nil, "", errNoStream
	}
	at, id := d.opt.Prefix+streams, d.opt.Store
	if rest, other := strings.CutPrefix(path, stores); other {
		name, rest, _ := strings.Cut(rest, "/")
		var err error
		// uuid.Parse also accepts shorter and longer forms. Each would be another URL of the same streams.
		if id, err = uuid.Parse(name); err != nil || len(name) != 36 || auth.Reserved(id) {
			return nil, "", errNoStream
		}
		at, path = d.opt.Prefix+stores+name+streams, "/"+rest
	}
	if path, ok = strings.CutPrefix(path, streams); !ok || path == "" {
		return nil, "", errNoStream
	}
	base := d.opt.PublicURL
	if base == "" {
		base = "http://" + r.Host
		if r.TLS != nil {
			base = "https://" + r.Host
		}
	}
	return &root{d.hub.Store(id), at, base}, path, nil
}

var errNoStream = fmt.Errorf("%w: there are no streams at this path", streamhub.ErrNotFound)

// stream returns the stream at a path. "a" and "default/a" are the same stream; [pathOf] returns the canonical form,
// for paths that are compared or stored.
func (o *root) stream(path string) (*stream, error) {
	s := &stream{root: o, path: path, space: defaultSpace, segment: path}
	if space, segment, ok := strings.Cut(path, "/"); ok {
		s.space, s.segment = space, segment
	}
	if s.space == reserved {
		return nil, fmt.Errorf("%w: the space %s is reserved", streamhub.ErrInvalidName, reserved)
	}
	if err := streamhub.CheckName("space", s.space); err != nil {
		return nil, err
	}
	return s, streamhub.CheckName("segment", s.segment)
}

// pathOf returns the canonical path of a segment. In the default space the space is left out, with two exceptions. The
// first element of a path with a slash would be taken for a space, and __ds is reserved.
func pathOf(space, segment string) string {
	if space == defaultSpace && segment != reserved && !strings.Contains(segment, "/") {
		return segment
	}
	return space + "/" + segment
}

// wakeable returns the path by which a wake names a segment. It reports false for a segment that no wake can name.
// Other transports allow a space with a slash or with the reserved name, and JSON cannot hold a path that is not UTF-8.
func wakeable(space, segment string) (path string, ok bool) {
	path = pathOf(space, segment)
	return path, space != reserved && !strings.Contains(space, "/") && utf8.ValidString(path)
}

// escapeElement returns a name escaped as one element of a path.
func escapeElement(name string) string { return url.PathEscape(name) }
