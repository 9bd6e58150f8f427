package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
)

const (
	// keysFresh is how long keys are used without asking whether there are others.
	keysFresh = 15 * time.Minute
	// keysStale is how long they are used while nobody answers.
	keysStale = 24 * time.Hour
	// fetchPause is between two fetches, whatever the first one brought.
	fetchPause   = 10 * time.Second
	fetchTimeout = 5 * time.Second
	maxKeySet    = 1 << 20
)

// A keySet holds the keys of an issuer. It has no goroutine: who needs a key fetches.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time

	fetching sync.Mutex // held while the keys are fetched: one fetch serves everybody who waits
	mu       sync.Mutex
	keys     map[string]jwkset.JWK
	fetched  time.Time // of what is in keys
	tried    time.Time
}

func newKeySet(o *Options) (*keySet, error) {
	u, err := url.Parse(o.JWKSURL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a key set", o.JWKSURL)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, errors.New("keys come over https, or from the loopback")
	}
	client := o.HTTPClient
	if client == nil {
		client = &http.Client{Timeout: fetchTimeout}
	}
	limited := *client
	limited.Transport = &limitedTransport{client.Transport}
	limited.CheckRedirect = func(*http.Request, []*http.Request) error {
		return errors.New("a key set does not redirect")
	}
	return &keySet{url: o.JWKSURL, client: &limited, now: o.Now}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// limitedTransport bounds what is read of an answer.
type limitedTransport struct{ next http.RoundTripper }

func (t *limitedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	response, err := next.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxKeySet), response.Body}
	}
	return response, err
}

// find returns the public key kid for an algorithm.
func (s *keySet) find(ctx context.Context, kid, algorithm string) (any, error) {
	key, ok, fresh := s.look(kid)
	if !ok || !fresh {
		err := s.fetch(ctx)
		if key, ok, _ = s.look(kid); !ok {
			return nil, errors.Join(fmt.Errorf("no key %.40q", kid), err)
		}
	}
	m := key.Marshal()
	if m.ALG != "" && m.ALG.String() != algorithm {
		return nil, fmt.Errorf("key %.40q is for %s, not for %s", kid, m.ALG, algorithm)
	}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return nil, fmt.Errorf("key %.40q is not for signatures", kid)
	}
	// The parser compares the type of the key with the algorithm.
	return key.Key(), nil
}

// look returns a key that may be used, and whether it may be used without asking.
func (s *keySet) look(kid string) (key jwkset.JWK, ok, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.now().Sub(s.fetched)
	key, ok = s.keys[kid]
	return key, ok && age < keysStale, age < keysFresh
}

// fetch brings the keys, unless that was tried a moment ago. Who comes while another fetches waits
// for that one.
func (s *keySet) fetch(ctx context.Context) error {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	s.mu.Lock()
	now := s.now()
	soon := now.Sub(s.tried) < fetchPause && !s.tried.IsZero()
	if !soon {
		s.tried = now
	}
	s.mu.Unlock()
	if soon {
		return nil
	}
	// It is for everybody who waits, so the end of the first one's request does not end it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	storage, err := jwkset.NewStorageFromHTTP(s.url, jwkset.HTTPClientStorageOptions{
		Ctx: ctx, Client: s.client, HTTPTimeout: fetchTimeout, RefreshInterval: 0,
	})
	if err != nil {
		return fmt.Errorf("the key set cannot be read: %w", err)
	}
	list, err := storage.KeyReadAll(ctx)
	if err != nil {
		return fmt.Errorf("the key set cannot be read: %w", err)
	}
	keys := make(map[string]jwkset.JWK, len(list))
	for _, key := range list {
		keys[key.Marshal().KID] = key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.fetched = keys, now
	return nil
}
