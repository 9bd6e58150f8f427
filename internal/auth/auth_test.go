package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = []byte("a secret that is long enough for HS256")

func claims(change map[string]any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "somebody", "iss": "issuer", "aud": "us", "exp": time.Now().Add(time.Hour).Unix(), "scopes": []string{"streamkit::*"}}
	for k, v := range change {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

func sign(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for k, v := range header {
		token.Header[k] = v
	}
	text, err := token.SignedString(key)
	require.NoError(t, err)
	return text
}

func TestScopes(t *testing.T) {
	a, b := uuid.New(), uuid.New()
	v, err := auth.NewVerifier(auth.Options{HMACSecret: secret})
	require.NoError(t, err)
	for _, test := range []struct {
		scopes any
		allows string // what of "ra wa rb wb rs ws xs", space s in a, and x another space
	}{
		{[]string{"streamkit::*"}, "ra wa rb wb rs ws rx"},
		{[]string{"streamkit::" + a.String()}, "ra wa rs ws rx"},
		{"other,streamkit::" + a.String() + ",more", "ra wa rs ws rx"},
		{[]string{"streamkit::*", "streamkit::malformed"}, "ra wa rb wb rs ws rx"},
		{[]string{"streamkit::malformed", "streamkit::*"}, "refused"},
		{[]string{"streamkit::{" + a.String() + "}"}, "refused"},
		{[]string{"streamhub::" + a.String() + "::s::read"}, "rs"},
		{[]string{"streamhub::*::s::*"}, "rs ws"},
		{[]string{"streamhub::*::*::read"}, "ra rb rs rx"},
		{[]string{"streamhub::*::a%2Fb::read", "streamhub::" + a.String() + "::s::write"}, "ws"},
		{[]string{"streamhub::*::s"}, "refused"},
		{[]string{"streamhub::*::s::delete"}, "refused"},
		{[]string{"streamhub::*::%zz::read"}, "refused"},
		{[]string{"something"}, "refused"},
		{nil, "refused"},
		{7, "refused"},
	} {
		p, err := auth.Identify(t.Context(), v, sign(t, jwt.SigningMethodHS256, secret, nil, claims(map[string]any{"scopes": test.scopes})))
		if test.allows == "refused" {
			require.Error(t, err, "%v", test.scopes)
			continue
		}
		require.NoError(t, err, "%v", test.scopes)
		var got []string
		for _, c := range []struct {
			name, space string
			store       uuid.UUID
			write       bool
		}{{"ra", "", a, false}, {"wa", "", a, true}, {"rb", "", b, false}, {"wb", "", b, true}, {"rs", "s", a, false}, {"ws", "s", a, true}, {"rx", "x", a, false}} {
			if p.Allows(streamhub.Right{Store: c.store, Space: c.space, Write: c.write}) {
				got = append(got, c.name)
			}
		}
		require.Equal(t, test.allows, strings.Join(got, " "), "%v", test.scopes)
		require.True(t, p.AllowsStore(a))
		require.Equal(t, strings.Contains(test.allows, "rb") && strings.Contains(test.allows, "rx"), p.AllowsAll(false), "%v", test.scopes)
		require.Equal(t, strings.Contains(test.allows, "wb"), p.AllowsAll(true), "%v", test.scopes)
	}
	require.False(t, auth.Anonymous.Allows(streamhub.Right{Store: a, Space: "s"}))
}

// TestSegments: a scope of one segment, or of those whose names begin alike, allows nothing else, and
// nothing of the space as a whole.
func TestSegments(t *testing.T) {
	store := uuid.New()
	const space = "s p"
	for _, test := range []struct{ pattern, has, lacks string }{
		{"a", "a", " ab b A a*"},
		{"a*", "a ab a* aé", " b A"},
		{"a%2A", "a*", " a ab a** a%2A"},
		{"a%2A*", "a* a**", " a ab"},
		{"a%2fb%3a%3a", "a/b::", " a a/b a%2fb%3a%3a"},
		{"%25*", "% %a", " a"},
		{"*", " a b *", ""},
		{"", "refused", ""}, {"**", "refused", ""}, {"a*b", "refused", ""}, {"*a", "refused", ""}, {"%", "refused", ""}, {"%2*", "refused", ""}, {"a::b", "refused", ""},
	} {
		scope := "streamhub::" + store.String() + "::s%20p::" + test.pattern + "::read"
		p, err := auth.Identify(t.Context(), known(streamhub.Identity{Scopes: []string{scope}}), "")
		if test.has == "refused" {
			require.Error(t, err, scope)
			continue
		}
		require.NoError(t, err, scope)
		allows := func(segment string) bool {
			require.False(t, p.Allows(streamhub.Right{Store: store, Space: space, Segment: segment, Write: true}))
			require.False(t, p.Allows(streamhub.Right{Store: store, Space: "s", Segment: segment}))
			require.False(t, p.Allows(streamhub.Right{Store: store, Segment: segment}))
			require.False(t, p.Allows(streamhub.Right{Store: uuid.New(), Space: space, Segment: segment}))
			return p.Allows(streamhub.Right{Store: store, Space: space, Segment: segment})
		}
		for _, segment := range strings.Split(test.has, " ") {
			require.True(t, allows(segment), "%s, %q", scope, segment)
		}
		if test.lacks != "" { // it begins with the space as a whole
			for _, segment := range strings.Split(test.lacks, " ") {
				require.False(t, allows(segment), "%s, %q", scope, segment)
			}
		}
	}
	p, err := auth.Identify(t.Context(), known(streamhub.Identity{Scopes: []string{"streamhub::*::*::a*::*"}}), "")
	require.NoError(t, err)
	require.True(t, p.Allows(streamhub.Right{Store: store, Space: "x", Segment: "ab", Write: true}))
	require.False(t, p.Allows(streamhub.Right{Store: store, Space: "x"}))
	require.False(t, p.Allows(streamhub.Right{Store: store}), "the store as a whole has other segments")
	require.False(t, p.AllowsAll(false), "everything has other segments")
	require.False(t, auth.Anonymous.AllowsAll(false))
}

// TestAttacks presents tokens that a careless verifier takes.
func TestAttacks(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	issuer := newIssuer(t)
	shortKey, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	issuer.set(map[string]any{"rsa": rsaKey.Public(), "short": shortKey.Public()})
	hmac, err := auth.NewVerifier(auth.Options{HMACSecret: secret, Issuer: "issuer", Audience: "us"})
	require.NoError(t, err)
	jwks, err := auth.NewVerifier(auth.Options{JWKSURL: issuer.URL, Issuer: "issuer", Audience: "us"})
	require.NoError(t, err)
	kid := map[string]any{"kid": "rsa"}
	good := sign(t, jwt.SigningMethodHS256, secret, nil, claims(nil))
	goodRSA := sign(t, jwt.SigningMethodRS256, rsaKey, kid, claims(nil))
	_, err = auth.Identify(t.Context(), hmac, good)
	require.NoError(t, err)
	_, err = auth.Identify(t.Context(), jwks, goodRSA)
	require.NoError(t, err)

	hs := func(change map[string]any) string {
		return sign(t, jwt.SigningMethodHS256, secret, nil, claims(change))
	}
	public := base64.RawURLEncoding.EncodeToString(rsaKey.N.Bytes())
	parts := strings.Split(good, ".")
	for name, attack := range map[string]struct {
		v     *auth.Verifier
		token string
	}{
		"none":               {hmac, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, claims(nil))},
		"empty":              {hmac, ""},
		"no signature":       {hmac, parts[0] + "." + parts[1] + "."},
		"other signature":    {hmac, parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))},
		"HS384":              {hmac, sign(t, jwt.SigningMethodHS384, secret, nil, claims(nil))},
		"wrong secret":       {hmac, sign(t, jwt.SigningMethodHS256, []byte("another secret that is long enough"), nil, claims(nil))},
		"RS for HS":          {hmac, goodRSA},
		"HS with the key":    {jwks, sign(t, jwt.SigningMethodHS256, []byte(public), kid, claims(nil))},
		"RS384":              {jwks, sign(t, jwt.SigningMethodRS384, rsaKey, kid, claims(nil))},
		"unknown kid":        {jwks, sign(t, jwt.SigningMethodRS256, rsaKey, map[string]any{"kid": "x"}, claims(nil))},
		"no kid, other key":  {jwks, sign(t, jwt.SigningMethodRS256, otherKey(t), nil, claims(nil))},
		"no kid, short key":  {jwks, sign(t, jwt.SigningMethodRS256, shortKey, nil, claims(nil))},
		"jku":                {jwks, sign(t, jwt.SigningMethodRS256, otherKey(t), map[string]any{"kid": "rsa", "jku": "http://127.0.0.1:1/", "jwk": map[string]any{"kty": "RSA", "n": public, "e": "AQAB"}}, claims(nil))},
		"crit":               {hmac, sign(t, jwt.SigningMethodHS256, secret, map[string]any{"crit": []string{"x"}}, claims(nil))},
		"typ":                {hmac, sign(t, jwt.SigningMethodHS256, secret, map[string]any{"typ": "dpop+jwt"}, claims(nil))},
		"no exp":             {hmac, hs(map[string]any{"exp": nil})},
		"expired":            {hmac, hs(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})},
		"valid for years":    {hmac, hs(map[string]any{"exp": time.Now().Add(100 * 24 * time.Hour).Unix()})},
		"not yet":            {hmac, hs(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()})},
		"from the future":    {hmac, hs(map[string]any{"iat": time.Now().Add(time.Hour).Unix()})},
		"wrong issuer":       {hmac, hs(map[string]any{"iss": "x"})},
		"wrong audience":     {hmac, hs(map[string]any{"aud": "x"})},
		"no audience":        {hmac, hs(map[string]any{"aud": nil})},
		"a megabyte":         {hmac, hs(map[string]any{"x": strings.Repeat("x", 1<<20)})},
		"dots":               {hmac, strings.Repeat(".", 8000)},
		"claims in capitals": {hmac, hs(map[string]any{"scopes": nil, "SCOPES": []string{"streamkit::*"}})},
		"scope of a number":  {hmac, hs(map[string]any{"scopes": []any{"streamkit::*", 7}})},
		"exp in capitals":    {hmac, hs(map[string]any{"exp": nil, "Exp": time.Now().Add(time.Hour).Unix()})},
		"short RSA key":      {jwks, sign(t, jwt.SigningMethodRS256, shortKey, map[string]any{"kid": "short"}, claims(nil))},
		"exp beyond floats":  {hmac, hs(map[string]any{"exp": 1e300})},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := auth.Identify(t.Context(), attack.v, attack.token)
			require.Error(t, err)
			require.Nil(t, p)
		})
	}
}

func otherKey(t *testing.T) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]auth.Options{
		"nothing":      {},
		"both":         {HMACSecret: secret, JWKSURL: "https://example.com"},
		"short secret": {HMACSecret: []byte("short")},
		"in the open":  {JWKSURL: "http://example.com/keys"},
		"no URL":       {JWKSURL: "keys"},
		"leeway":       {HMACSecret: secret, Leeway: time.Hour},
		"lifetime":     {HMACSecret: secret, MaxLifetime: -1},
		"no PEM":       {PublicKeys: []byte("key")},
		"three":        {HMACSecret: secret, PublicKeys: []byte("key")},
	} {
		_, err := auth.NewVerifier(o)
		require.Error(t, err, name)
	}
	_, err := auth.NewVerifier(auth.Options{HMACSecret: []byte("short"), InsecureShortSecret: true})
	require.NoError(t, err)
}

// An issuer serves keys and counts how often they are asked for.
type issuer struct {
	*httptest.Server
	mu    sync.Mutex
	keys  []map[string]string
	down  atomic.Bool
	large atomic.Bool
	asked atomic.Int32
	// instead, unless it is nil, answers; guarded by mu.
	instead func(w http.ResponseWriter)
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		if i.down.Load() {
			http.Error(w, "down", http.StatusInternalServerError)
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.instead != nil {
			i.instead(w)
			return
		}
		if i.large.Load() {
			fmt.Fprintf(w, `{"padding":%q,`, strings.Repeat("x", 2<<20))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	}))
	t.Cleanup(func() {
		i.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return i
}

func (i *issuer) set(keys map[string]any) {
	b64 := base64.RawURLEncoding.EncodeToString
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = nil
	for kid, key := range keys {
		switch k := key.(type) {
		case *rsa.PublicKey:
			i.keys = append(i.keys, map[string]string{"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
		case *ecdsa.PublicKey:
			point, err := k.Bytes() // 4, x, y
			if err != nil {
				panic(err)
			}
			i.keys = append(i.keys, map[string]string{"kty": "EC", "kid": kid, "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])})
		case ed25519.PublicKey:
			i.keys = append(i.keys, map[string]string{"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": b64(k)})
		}
	}
}

// A timed is a verifier that asks an issuer, by a clock that the test sets forward.
type timed struct {
	*auth.Verifier
	clock atomic.Int64
}

func newTimed(t testing.TB, i *issuer) *timed {
	t.Helper()
	v := &timed{}
	v.clock.Store(time.Now().UnixNano())
	var err error
	v.Verifier, err = auth.NewVerifier(auth.Options{JWKSURL: i.URL, Now: v.now})
	require.NoError(t, err)
	return v
}

func (v *timed) now() time.Time { return time.Unix(0, v.clock.Load()) }

func (v *timed) forward(d time.Duration) { v.clock.Add(int64(d)) }

// try presents a token of a key, which lives for an hour.
func (v *timed) try(t testing.TB, method jwt.SigningMethod, key any, kid string) error {
	_, err := auth.Identify(t.Context(), v.Verifier, sign(t, method, key, map[string]any{"kid": kid}, claims(map[string]any{"exp": v.now().Add(time.Hour).Unix()})))
	return err
}

// TestHangingIssuer asks an issuer that does not answer for newer keys: whoever has a known key goes on.
func TestHangingIssuer(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	issuer := newIssuer(t)
	issuer.set(map[string]any{"ed": ed.Public()})
	v := newTimed(t, issuer)
	verify := func(kid string) error { return v.try(t, jwt.SigningMethodEdDSA, ed, kid) }
	require.NoError(t, verify("ed"))
	issuer.mu.Lock() // it takes connections and answers nothing
	hanging := sync.OnceFunc(issuer.mu.Unlock)
	defer hanging()
	v.forward(16 * time.Minute)
	start := time.Now()
	for range 100 {
		require.NoError(t, verify("ed"))
	}
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			if err := verify("ed"); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	require.Less(t, time.Since(start), 4*time.Second, "the issuer would take 5")
	require.NoError(t, v.Close())
	require.NoError(t, verify("ed"), "what is known is known")
	require.Error(t, verify("unknown"))
}

// TestLyingIssuer keeps the keys that are known whatever the issuer answers, and takes what is a key of a set in
// which other things are not.
func TestLyingIssuer(t *testing.T) {
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	issuer := newIssuer(t)
	issuer.set(map[string]any{"ed": edPublic})
	v := newTimed(t, issuer)
	verify := func(kid string) error { return v.try(t, jwt.SigningMethodEdDSA, ed, kid) }
	require.NoError(t, verify("ed"))
	says := func(answer func(w http.ResponseWriter)) {
		issuer.mu.Lock()
		issuer.instead = answer
		issuer.mu.Unlock()
		v.forward(16 * time.Minute)
	}
	text := func(text string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = io.WriteString(w, text) }
	}
	for name, answer := range map[string]func(w http.ResponseWriter){
		"nothing": text(""), "null": text("null"), "an object of something else": text(`{"error":"try later"}`), "a list": text("[]"),
		"keys that are none": text(`{"keys":"none"}`), "null keys": text(`{"keys":null}`), "a page": text("<html>Sign in</html>"),
		"more than a set": text(`{"keys":[]} {}`), "deep": text(strings.Repeat(`{"keys":[`, 50_000)), "no text": text("\xff\xfe"),
		"a redirect":     func(w http.ResponseWriter) { w.Header().Set("Location", issuer.URL); w.WriteHeader(http.StatusFound) },
		"no content":     func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"another status": func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); text(`{"keys":[]}`)(w) },
		"cut in the middle": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			text(`{"keys":[]}`)(w)
		},
	} {
		says(answer)
		asked := issuer.asked.Load()
		for begun := time.Now(); issuer.asked.Load() == asked; { // the fetch before may be under way
			require.NoError(t, verify("ed"), name)
			require.Less(t, time.Since(begun), 30*time.Second, name)
		}
		require.NoError(t, verify("ed"), name)
	}
	key := `{"kty":"OKP","kid":"new","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(edPublic) + `"}`
	says(text(`{"keys":[{"kty":"AKP","kid":"later","alg":"ML-DSA-44"},{"kty":"RSA","kid":"r"},7,{"kty":"EC","crv":"P-256","x":"%","y":""},` + key + `]}`))
	require.NoError(t, verify("new"), "beside what is not understood")
	says(text(`{"keys":[]}`))
	for begun := time.Now(); verify("new") == nil; { // until the answer is there
		require.Less(t, time.Since(begun), 30*time.Second, "all keys are withdrawn")
	}
}

func TestKeySet(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	issuer := newIssuer(t)
	issuer.set(map[string]any{"ec": ec.Public()})
	v := newTimed(t, issuer)
	forward := v.forward
	try := func(method jwt.SigningMethod, key any, kid string) error { return v.try(t, method, key, kid) }
	require.NoError(t, try(jwt.SigningMethodES256, ec, "ec"))
	require.NoError(t, try(jwt.SigningMethodES256, ec, "ec"))
	require.EqualValues(t, 1, issuer.asked.Load())

	// A flood of unknown keys: one fetch, and no more for a while.
	forward(11 * time.Second)
	var flood sync.WaitGroup
	for g := range 8 {
		flood.Go(func() {
			for i := range 200 {
				if try(jwt.SigningMethodES256, ec, fmt.Sprint("unknown", g, i)) == nil {
					t.Error("a key that nobody has")
				}
			}
		})
	}
	flood.Wait()
	require.EqualValues(t, 2, issuer.asked.Load())

	// A new key is found as soon as one may ask again.
	issuer.set(map[string]any{"ec": ec.Public(), "ed": edPublic})
	require.Error(t, try(jwt.SigningMethodEdDSA, ed, "ed"))
	forward(11 * time.Second)
	require.NoError(t, try(jwt.SigningMethodEdDSA, ed, "ed"))
	require.EqualValues(t, 3, issuer.asked.Load())
	require.Error(t, try(jwt.SigningMethodEdDSA, ed, "ec"), "the key of another algorithm")

	// A key that was withdrawn is not taken once the keys were fetched again.
	issuer.set(map[string]any{"ed": edPublic})
	forward(16 * time.Minute)
	require.Error(t, try(jwt.SigningMethodES256, ec, "ec"))

	// Keys outlive an issuer that is down, for a day.
	issuer.down.Store(true)
	forward(23 * time.Hour)
	require.NoError(t, try(jwt.SigningMethodEdDSA, ed, "ed"))
	forward(2 * time.Hour)
	require.Error(t, try(jwt.SigningMethodEdDSA, ed, "ed"))
	issuer.down.Store(false)
	issuer.large.Store(true)
	forward(11 * time.Second)
	require.Error(t, try(jwt.SigningMethodEdDSA, ed, "ed"), "too large to be a key set")
	issuer.large.Store(false)
	forward(11 * time.Second)
	require.NoError(t, try(jwt.SigningMethodEdDSA, ed, "ed"))
}

func TestSucceed(t *testing.T) {
	v, err := auth.NewVerifier(auth.Options{HMACSecret: secret})
	require.NoError(t, err)
	who := func(change map[string]any) *auth.Principal {
		p, err := auth.Identify(t.Context(), v, sign(t, jwt.SigningMethodHS256, secret, nil, claims(change)))
		require.NoError(t, err)
		return p
	}
	p := who(nil)
	require.NoError(t, p.Succeed(who(map[string]any{"scopes": "streamkit::" + uuid.NewString()})))
	require.Error(t, p.Succeed(who(map[string]any{"sub": "another"})))
	require.Error(t, p.Succeed(who(map[string]any{"iss": "another"})))
	require.NoError(t, auth.Anonymous.Succeed(p))
}

func TestOrigins(t *testing.T) {
	o, err := auth.NewOrigins([]string{"https://App.example.com", "http://dev:3000"})
	require.NoError(t, err)
	for _, bad := range []string{"*", "null", "example.com", "https://*.example.com", "https://a/path", "https://user@a", ""} {
		_, err := auth.NewOrigins([]string{bad})
		require.Error(t, err, "%q", bad)
	}
	for _, test := range []struct {
		origin    string
		streamkit bool
		ok        bool
	}{
		{"", false, true},
		{"https://app.example.com", false, true},
		{"https://APP.example.com:443", false, true},
		{"http://dev:3000", false, true},
		{"http://gateway:8080", false, true},
		{"https://gateway:8080", false, true},
		{"http://gateway", false, false},
		{"http://app.example.com", false, false},
		{"https://app.example.com.evil.com", false, false},
		{"https://evil.com/app.example.com", false, false},
		{"https://evil.com#app.example.com", false, false},
		{"null", false, false},
		{"http://localhost", false, false},
		{"http://localhost", true, true},
		{"http://localhost:3000", true, false},
		{"file://", false, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://gateway:8080/streamz", nil)
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		err := o.Check(r, test.streamkit)
		require.Equal(t, test.ok, err == nil, "%q: %v", test.origin, err)
		if err != nil {
			require.ErrorIs(t, err, auth.ErrForbiddenOrigin)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "http://gateway:8080/streamz", nil)
	r.Header["Origin"] = []string{"https://app.example.com", "https://evil.com"}
	require.ErrorIs(t, o.Check(r, false), auth.ErrForbiddenOrigin)
}

func TestCookieToken(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		want   string
	}{
		"same origin":            {http.Header{"Sec-Fetch-Site": {"same-origin"}}, "of the cookie"},
		"own origin":             {http.Header{"Origin": {"https://hub.example.com"}}, "of the cookie"},
		"both":                   {http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://hub.example.com"}}, "of the cookie"},
		"neither says":           {http.Header{}, ""},
		"cross-site":             {http.Header{"Sec-Fetch-Site": {"cross-site"}}, ""},
		"same-site":              {http.Header{"Sec-Fetch-Site": {"same-site"}}, ""},
		"typed":                  {http.Header{"Sec-Fetch-Site": {"none"}}, ""},
		"said twice":             {http.Header{"Sec-Fetch-Site": {"same-origin", "cross-site"}}, ""},
		"other origin":           {http.Header{"Origin": {"https://evil.example.com"}}, ""},
		"other origin, and says": {http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://evil.example.com"}}, ""},
		"own origin, cross-site": {http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://hub.example.com"}}, ""},
		"no origin":              {http.Header{"Origin": {"null"}}, ""},
		"two origins":            {http.Header{"Origin": {"https://hub.example.com", "https://evil.example.com"}}, ""},
		"two cookies":            {http.Header{"Sec-Fetch-Site": {"same-origin"}, "Cookie": {"hub=first; hub=second"}}, ""},
		"another cookie":         {http.Header{"Sec-Fetch-Site": {"same-origin"}, "Cookie": {"hubs=x; xhub=y"}}, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host, r.Header = "hub.example.com", test.header
		if r.Header.Get("Cookie") == "" {
			r.Header.Set("Cookie", `other=1; hub="of the cookie"`)
		}
		require.Equal(t, test.want, auth.CookieToken(r, "hub"), name)
		require.Empty(t, auth.CookieToken(r, ""), name)
	}
}

// TestLimiterOfCrowd lets as many in at once as there may be connections: those of a gateway that has gone come
// to another one together.
func TestLimiterOfCrowd(t *testing.T) {
	l := auth.NewLimiter(nil)
	for i := range 10_000 {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1234", i>>8, i&255)
		_, err := l.Acquire(r, nil)
		require.NoError(t, err, "connection %d", i)
	}
}

func TestLimiter(t *testing.T) {
	from := func(ip string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = ip + ":1234"
		return r
	}
	l := auth.NewLimiter(&auth.Limits{Connections: 5, PerSubject: 2, PerIP: 3, HandshakesPerIP: 1000, Handshakes: -1})
	p := &auth.Principal{Subject: "a"}
	var releases []func()
	take := func(ip string, p *auth.Principal) error {
		release, err := l.Acquire(from(ip), p)
		if err == nil {
			releases = append(releases, release)
		}
		return err
	}
	require.NoError(t, take("10.0.0.1", p))
	require.NoError(t, take("10.0.0.2", p))
	require.ErrorIs(t, take("10.0.0.3", p), auth.ErrTooMany, "a subject")
	require.NoError(t, take("10.0.0.1", nil))
	require.NoError(t, take("10.0.0.1", nil))
	require.ErrorIs(t, take("10.0.0.1", nil), auth.ErrTooMany, "an address")
	require.NoError(t, take("10.0.0.4", nil))
	require.ErrorIs(t, take("127.0.0.1", nil), auth.ErrTooMany, "the process")
	for _, release := range releases {
		release()
	}
	releases = nil
	for range 5 {
		require.NoError(t, take("127.0.0.1", nil), "a proxy here speaks for many")
	}

	// A host has a network of IPv6 addresses to choose from.
	network := auth.NewLimiter(&auth.Limits{PerIP: 3, HandshakesPerIP: -1})
	for _, ip := range []string{"[2001:db8:1:2::1]", "[2001:db8:1:2:ffff::9]", "[2001:db8:1:2::3%eth0]"} {
		_, err := network.Acquire(from(ip), nil)
		require.NoError(t, err)
	}
	_, err := network.Acquire(from("[2001:db8:1:2:3:4:5:6]"), nil)
	require.ErrorIs(t, err, auth.ErrTooMany)
	for _, ip := range []string{"[2001:db8:1:3::1]", "[::ffff:10.0.0.1]", "[::ffff:10.0.0.2]", "10.0.0.1", "10.0.0.1"} {
		_, err := network.Acquire(from(ip), nil)
		require.NoError(t, err, ip)
	}
	_, err = network.Acquire(from("[::ffff:10.0.0.1]"), nil)
	require.ErrorIs(t, err, auth.ErrTooMany, "the same host over IPv4")

	slow := auth.NewLimiter(&auth.Limits{HandshakesPerIP: 1})
	passed := 0
	for range 100 {
		if release, err := slow.Acquire(from("10.0.0.1"), nil); err == nil {
			release()
			passed++
		}
	}
	require.Less(t, passed, 20)
	release, err := slow.Acquire(from("10.0.0.2"), nil)
	require.NoError(t, err)
	release()
	for i := range 30_000 { // and the addresses are forgotten again
		if release, err := slow.Acquire(from(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)), nil); err == nil {
			release()
		} else if !errors.Is(err, auth.ErrTooMany) {
			t.Fatal(err)
		}
	}
}

// FuzzVerify presents anything.
func FuzzVerify(f *testing.F) {
	v, err := auth.NewVerifier(auth.Options{HMACSecret: secret})
	require.NoError(f, err)
	f.Add(sign(f, jwt.SigningMethodHS256, secret, nil, claims(nil)))
	f.Add("a.b.c")
	f.Fuzz(func(_ *testing.T, token string) { _, _ = auth.Identify(context.Background(), v, token) })
}

// FuzzScopes signs any scopes.
func FuzzScopes(f *testing.F) {
	v, err := auth.NewVerifier(auth.Options{HMACSecret: secret})
	require.NoError(f, err)
	for _, s := range []string{"streamkit::*", "streamhub::*::a::read", "streamhub::*::a::b*::read", "streamhub::::::", "a,b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, scopes string) {
		p, err := auth.Identify(context.Background(), v, sign(t, jwt.SigningMethodHS256, secret, nil, claims(map[string]any{"scopes": scopes})))
		if err == nil && p.Allows(streamhub.Right{Store: uuid.New(), Space: "space", Write: true}) && !strings.Contains(scopes, "*") {
			t.Errorf("%q allows any store", scopes)
		}
	})
}
