package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ErrForbiddenOrigin is for a browser that shows the page of another origin.
var ErrForbiddenOrigin = errors.New("forbidden origin")

// streamkitOrigin is what clients of streamkit send, wherever they are.
const streamkitOrigin = "http://localhost"

// Origins are the web origins that may connect without a token in the request.
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

// parseOrigin returns the one form of an origin: lower case, without the port that is the default.
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

// Check returns [ErrForbiddenOrigin] for a page of another origin than the gateway's own and those
// allowed. A request with a verified token needs no check: no page of others has the token.
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
		return nil // no browser, or a user who opens the address
	}
	if streamkit && text == streamkitOrigin {
		return nil
	}
	origin, ok := parseOrigin(text)
	if ok {
		if _, ok = o.allowed[origin]; !ok {
			own, isURL := parseOrigin("http://" + r.Host)
			ownTLS, _ := parseOrigin("https://" + r.Host)
			// Either scheme: a proxy before the gateway may have ended TLS, which the request does not say.
			ok = isURL && (origin == own || origin == ownTLS)
		}
	}
	if !ok {
		return fmt.Errorf("%w: %.100q", ErrForbiddenOrigin, text)
	}
	return nil
}

// embedded reports whether a request is of a page of another origin that shows or runs what it gets, as an image or
// a script. A browser sends no Origin then, and the page can run what it may not read.
func embedded(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") == "no-cors"
}

// originOfReferer returns the origin of the page that a request comes from, "" if that is not said.
func originOfReferer(r *http.Request) string {
	u, err := url.Parse(r.Header.Get("Referer"))
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// OwnOrigin is for requests of web pages of the gateway's own origin, and of what is no page.
func OwnOrigin(r *http.Request) error { return (&Origins{}).Check(r, false) }

// CookieToken returns the value of the cookie of that name, "" for none. A browser sends cookies with
// requests of every page, so a cookie counts only where the browser says that the page is of the
// gateway's own origin.
func CookieToken(r *http.Request, cookie string) string {
	if cookie == "" {
		return ""
	}
	site, origin := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	if len(site)+len(origin) == 0 || len(site) > 1 || len(site) == 1 && site[0] != "same-origin" || OwnOrigin(r) != nil {
		return ""
	}
	named := r.CookiesNamed(cookie)
	if len(named) != 1 { // of two it is not known which is ours
		return ""
	}
	return named[0].Value
}
