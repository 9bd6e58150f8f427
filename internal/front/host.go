package front

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// ErrMisdirected is the error of a request whose Host is not a name of the gateway.
var ErrMisdirected = errors.New("misdirected request")

// Hosts are the names under which a gateway without authentication answers. An attacker can make the host name of a web
// page resolve to a loopback address (DNS rebinding). The requests of that page then look like those of the gateway's
// own pages, but their Host is still the attacker's name.
//
// Loopback names are always included: 127.0.0.0/8, [::1] and localhost. Ports are ignored. Hosts is immutable.
type Hosts struct{ names map[string]struct{} }

// NewHosts takes the hosts of web origins and further names, without ports.
func NewHosts(origins, names []string) (*Hosts, error) {
	h := &Hosts{names: map[string]struct{}{}}
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("%q is not an origin: write scheme://host or scheme://host:port", origin)
		}
		h.names[canonicalHost(u.Host)] = struct{}{}
	}
	for _, text := range names {
		name := canonicalHost(text)
		if name == "" || strings.ContainsAny(text, "/*?#@ ") || strings.Contains(name, ":") && !isAddress(name) {
			return nil, fmt.Errorf("%q is not the name of a host: write NAME, or an address", text)
		}
		h.names[name] = struct{}{}
	}
	return h, nil
}

// canonicalHost returns the canonical form of a Host: lower case, without the port, without the brackets of an address
// and without the dot at the end.
func canonicalHost(host string) string {
	if rest, ok := strings.CutPrefix(host, "["); ok {
		if address, port, closed := strings.Cut(rest, "]"); closed && (port == "" || port[0] == ':') {
			return strings.ToLower(address)
		}
		return host
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host, ':') == i {
		host = host[:i]
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// Check returns [ErrMisdirected] unless the Host of a request is one of the names.
func (h *Hosts) Check(r *http.Request) error {
	name := canonicalHost(r.Host)
	if name == "localhost" {
		return nil
	}
	if address, err := netip.ParseAddr(name); err == nil && address.Zone() == "" && address.Unmap().IsLoopback() {
		return nil
	}
	if _, ok := h.names[name]; ok {
		return nil
	}
	return fmt.Errorf("%w: host %.100q", ErrMisdirected, r.Host)
}

// Wrap returns a handler that answers 421 to every request whose Host is not one of the names, except to probes, which
// may use any address.
func (h *Hosts) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			if h.Check(r) != nil {
				w.Header().Set("Connection", "close") // the rest of the request is not read
				answer(w, http.StatusMisdirectedRequest, "misdirected_request", "this gateway has no such name; see --host")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
