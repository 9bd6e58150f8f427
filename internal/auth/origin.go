package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ErrForbiddenOrigin is the error for a request from a web page of an origin that is not allowed.
var ErrForbiddenOrigin = errors.New("forbidden origin")

// streamkitOrigin is the Origin that streamkit clients send from any machine.
const streamkitOrigin = "http://localhost"

// Origins are the web origins whose pages may send requests without a token.
type Origins struct{ allowed map[string]struct{} }

// NewOrigins takes exact origins, scheme://host[:port].
func NewOrigins(list []string) (*Origins, error) {
	o := &Origins{allowed: map[string]struct{}{}}
	for _, text := range list {
		origin, ok := parseOrigin(text)
		if !ok {
			return nil, fmt.Errorf("%q is not an origin: write scheme://host or scheme://host:port", text)
		}
		o.allowed[origin] = struct{}{}
	}
	return o, nil
}

// parseOrigin returns the canonical form of an origin: lower case, without the default port.
func parseOrigin(text string) (string, bool) {
	u, err := url.Parse(strings.ToLower(text))
	if err != nil || u.Scheme == "" || u.Host == "" || u.Hostname() == "" || u.User != nil || u.Path != "" ||
		u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || strings.ContainsAny(text, "*?#") {
		return "", false
	}
	host := u.Host
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host, true
}

// Check returns [ErrForbiddenOrigin] for a page of another origin than the gateway's own and those allowed. A request
// with a verified token needs no check, because a page of another origin does not have the token.
func (o *Origins) Check(r *http.Request, streamkit bool) error {
	values := r.Header.Values("Origin")
	if len(values) > 1 {
		return fmt.Errorf("%w: several", ErrForbiddenOrigin)
	}
	var text string
	switch {
	case len(values) == 1:
		text = values[0]
	case embedded(r):
		if text = originOfReferer(r); text == "" {
			return fmt.Errorf("%w: of a page that does not say which", ErrForbiddenOrigin)
		}
	default:
		return nil // not a browser, or a user who has typed the address
	}
	if streamkit && text == streamkitOrigin {
		return nil
	}
	origin, ok := parseOrigin(text)
	if ok {
		if _, ok = o.allowed[origin]; !ok {
			own, isURL := parseOrigin("http://" + r.Host)
			ownTLS, _ := parseOrigin("https://" + r.Host)
			// Both schemes count as the gateway's own: a proxy may have terminated TLS, and the request does not say
			// so.
			ok = isURL && (origin == own || origin == ownTLS)
		}
	}
	if !ok {
		return fmt.Errorf("%w: %.100q", ErrForbiddenOrigin, text)
	}
	return nil
}

// embedded reports whether a page of another origin embeds the response, as an image or a script for instance. For such
// a request a browser sends no Origin, and the page can run a response that it may not read.
func embedded(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") == "no-cors"
}

// originOfReferer returns the origin of the page that sent a request, or "" if the request does not name it.
func originOfReferer(r *http.Request) string {
	u, err := url.Parse(r.Header.Get("Referer"))
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// OwnOrigin returns an error unless a request comes from a page of the gateway's own origin, or from no page.
func OwnOrigin(r *http.Request) error { return (&Origins{}).Check(r, false) }

// CookieToken returns the value of a cookie, or "" if there is none. A browser sends cookies with the requests of every
// page. So a cookie counts only if the browser says that the page is of the gateway's own origin.
func CookieToken(r *http.Request, cookie string) string {
	if cookie == "" {
		return ""
	}
	site, origin := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	if len(site)+len(origin) == 0 || len(site) > 1 || len(site) == 1 && site[0] != "same-origin" || OwnOrigin(r) != nil {
		return ""
	}
	named := r.CookiesNamed(cookie)
	if len(named) != 1 { // with several it is unknown which one is ours
		return ""
	}
	return named[0].Value
}
