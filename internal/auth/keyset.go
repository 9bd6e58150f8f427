package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// keysFresh is how long fetched keys are used before they are fetched again.
	keysFresh = 15 * time.Minute
	// keysStale is how long fetched keys are used while the issuer does not answer.
	keysStale = 24 * time.Hour
	// fetchPause is the shortest time between two fetches, even if the first one failed. Any client can send tokens
	// with invented key ids, which must not cause a request to the issuer each.
	fetchPause   = 10 * time.Second
	fetchTimeout = 5 * time.Second
	// knownWait is how long a token with a known key waits for newer keys: an issuer that hangs does
	// not delay it further.
	knownWait = 200 * time.Millisecond
	maxKeySet = 1 << 20
	// minRSA is the shortest RSA key that is accepted, in bits (RFC 7518, 3.3).
	minRSA = 2048
)

// A keySet holds the keys of an issuer. It fetches them when one is needed.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	// mu guards the fields below. It is not held during a request to the issuer.
	mu      sync.Mutex
	keys    map[string]jwkset.JWK
	fetched time.Time // when the keys were fetched
	tried   time.Time // when the last fetch began, even if it failed
	flight  *flight   // the fetch in progress
}

// A flight is one fetch, which all waiting callers share.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
	slow bool  // a request has waited for it long enough; guarded by keySet.mu
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
	// A copy: the client is the caller's, and may follow redirects elsewhere.
	limited := *client
	limited.CheckRedirect = func(*http.Request, []*http.Request) error {
		return errors.New("a key set does not redirect")
	}
	s := &keySet{url: o.JWKSURL, client: &limited, now: o.Now}
	// The key set serves all later callers too, so its context ends with close and not with the context of one caller.
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// close cancels the fetch in progress and waits for it.
func (s *keySet) close() {
	s.mu.Lock()
	// Cancel under the lock: fetch adds to tasks only while it holds the lock and the context has not ended. So nothing
	// is added during Wait.
	s.cancel()
	s.mu.Unlock()
	s.tasks.Wait()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// maxCandidates is how many keys are tried for a token that names no key. Each try costs a verification, and any client
// can send such a token.
const maxCandidates = 8

// candidates returns the keys for an algorithm, for a token that names none. With refetch the keys are fetched first,
// as for an unknown key.
func (s *keySet) candidates(ctx context.Context, algorithm string, refetch bool) (any, error) {
	list, fresh := s.every(algorithm)
	if len(list) == 0 || !fresh || refetch {
		err := s.fetch(ctx, len(list) > 0 && !refetch)
		if list, _ = s.every(algorithm); len(list) == 0 {
			return nil, errors.Join(fmt.Errorf("no key for %s", algorithm), err)
		}
	}
	if len(list) > maxCandidates {
		return nil, fmt.Errorf("the token names no key, and %d are for %s", len(list), algorithm)
	}
	return jwt.VerificationKeySet{Keys: list}, nil
}

// every returns the keys for an algorithm, and whether they are fresh, so that no fetch is needed.
func (s *keySet) every(algorithm string) (list []jwt.VerificationKey, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.now().Sub(s.fetched)
	if age >= keysStale {
		return nil, false
	}
	for kid, key := range s.keys {
		public, err := fit(kid, key, algorithm)
		if err == nil && algorithmOf(public) == algorithm {
			list = append(list, public)
		}
	}
	return list, age < keysFresh
}

// algorithmOf returns the only algorithm for which a public key is accepted.
func algorithmOf(public any) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return "ES256"
		}
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return ""
}

// find returns the public key with the id kid, if it is for the algorithm.
func (s *keySet) find(ctx context.Context, kid, algorithm string) (any, error) {
	key, ok, fresh := s.look(kid)
	if !ok || !fresh {
		err := s.fetch(ctx, ok)
		if key, ok, _ = s.look(kid); !ok {
			return nil, errors.Join(fmt.Errorf("no key %.40q", kid), err)
		}
	}
	return fit(kid, key, algorithm)
}

// fit returns the public key, or an error if it is not for the algorithm.
func fit(kid string, key jwkset.JWK, algorithm string) (any, error) {
	m := key.Marshal()
	if m.ALG != "" && m.ALG.String() != algorithm {
		return nil, fmt.Errorf("key %.40q is for %s, not for %s", kid, m.ALG, algorithm)
	}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return nil, fmt.Errorf("key %.40q is not for signatures", kid)
	}
	// The parser compares the type of the key with the algorithm.
	public := key.Key()
	if err := checkKey(public); err != nil {
		return nil, fmt.Errorf("key %.40q: %w", kid, err)
	}
	return public, nil
}

// checkKey refuses a key that is too short.
func checkKey(public any) error {
	if k, ok := public.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return fmt.Errorf("an RSA key of %d bits, %d are the least that is safe", k.N.BitLen(), minRSA)
	}
	return nil
}

// look returns a usable key, and whether it is fresh, so that no fetch is needed.
func (s *keySet) look(kid string) (key jwkset.JWK, ok, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.now().Sub(s.fetched)
	key, ok = s.keys[kid]
	return key, ok && age < keysStale, age < keysFresh
}

// fetch waits for newer keys, unless they were fetched a moment ago. All callers share one fetch. With known set, the
// caller has a key already and waits only for knownWait.
func (s *keySet) fetch(ctx context.Context, known bool) error {
	s.mu.Lock()
	f := s.flight
	if f == nil {
		now := s.now()
		// No error: the caller continues with the present keys, or reports that the key is unknown.
		if now.Sub(s.tried) < fetchPause && !s.tried.IsZero() || s.ctx.Err() != nil {
			s.mu.Unlock()
			return nil
		}
		s.tried = now
		f = &flight{done: make(chan struct{})}
		s.flight = f
		s.tasks.Go(func() { s.fly(f, now) })
	}
	slow := f.slow
	s.mu.Unlock()
	var enough <-chan time.Time
	if known {
		if slow {
			return nil
		}
		timer := time.NewTimer(knownWait)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
		return f.err
	case <-enough:
		s.mu.Lock()
		f.slow = true
		s.mu.Unlock()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fly makes one fetch, and passes the result to all that wait for it.
func (s *keySet) fly(f *flight, now time.Time) {
	ctx, cancel := context.WithTimeout(s.ctx, fetchTimeout)
	defer cancel()
	keys, err := s.load(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.err = err; err == nil {
		// now is when the fetch began, so that keys never count as newer than they are.
		s.keys, s.fetched = keys, now
	}
	s.flight = nil
	close(f.done)
}

// load fetches the key set. It skips keys that it does not understand, as RFC 7517, 5, requires. An answer that is not
// a key set is an error, not an empty key set.
func (s *keySet) load(ctx context.Context) (map[string]jwkset.JWK, error) {
	text, err := s.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("the key set cannot be read: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil || set.Keys == nil {
		return nil, errors.New("the key set cannot be read: the answer is none")
	}
	keys := make(map[string]jwkset.JWK, len(set.Keys))
	for i, one := range set.Keys {
		var m jwkset.JWKMarshal
		if json.Unmarshal(one, &m) != nil {
			continue
		}
		key, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		kid := m.KID
		if kid == "" { // a key without an id, which no token can name
			kid = fmt.Sprintf("\x00%d", i)
		}
		keys[kid] = key
	}
	return keys, nil
}

// get returns the answer of the issuer.
func (s *keySet) get(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answered %s", answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySet+1))
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("the issuer answered more than %d bytes", maxKeySet)
	}
	return text, err
}
