package durable

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// A signer signs webhooks, and makes the tokens with which their receivers answer. Its key is in Redis, so that all
// gateways use the same one.
type signer struct {
	key    ed25519.PrivateKey
	tokens []byte
	kid    string
}

// signers caches the signer. The lock is held while the key is read from Redis, so that of many concurrent requests
// only one reads it.
type signers struct {
	mu  sync.Mutex
	one *signer
}

// The segment in registerStore whose only entry holds the key of all webhooks.
const (
	keySpace   = "keys"
	keySegment = "webhooks"
)

// signer returns the signer; the first gateway that needs one makes its key. Of two gateways that
// make one at once, the append of one is refused, and both read what is stored.
func (d *Handler) signer(ctx context.Context) (*signer, error) {
	g, err := d.knownSigner(ctx)
	if g != nil || err != nil {
		return g, err
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	_, err = d.hub.Store(registerStore).Append(ctx, keySpace, keySegment, []streamhub.Record{{Payload: seed}}, &streamhub.AppendOptions{ExpectedSequence: 1})
	if err != nil && !errors.Is(err, streamhub.ErrSequenceMismatch) && !errors.Is(err, streamhub.ErrNotConfirmed) {
		return nil, err
	}
	if g, err = d.knownSigner(ctx); g == nil && err == nil {
		err = fmt.Errorf("%w: the key of the webhooks", streamhub.ErrHistoryLost)
	}
	return g, err
}

// knownSigner returns the signer if its key exists, and nil otherwise. It is for unauthenticated requests, which must
// not cause a write.
func (d *Handler) knownSigner(ctx context.Context) (*signer, error) {
	c := &d.wakes.signers
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.one != nil {
		return c.one, nil
	}
	store := d.hub.Store(registerStore)
	for e, err := range store.ConsumeSegment(ctx, keySpace, keySegment, &streamhub.ReadOptions{Limit: 1}) {
		if errors.Is(err, streamhub.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if len(e.Payload) != ed25519.SeedSize {
			return nil, fmt.Errorf("%w: a key that signs webhooks has %d bytes", streamhub.ErrCorrupt, len(e.Payload))
		}
		c.one = newSigner(e.Payload)
	}
	return c.one, nil
}

func newSigner(seed []byte) *signer {
	g := &signer{key: ed25519.NewKeyFromSeed(seed)}
	// Tokens have their own key, derived from the same seed, so that a signature cannot pass for a token.
	tokens := sha256.Sum256(append([]byte("streamhub subscription tokens\x00"), seed...))
	g.tokens = tokens[:]
	id := sha256.Sum256(g.public())
	g.kid = "ds_" + text64(id[:12])
	return g
}

func (g *signer) public() []byte { return g.key.Public().(ed25519.PublicKey) }

// sign returns the signature header of a webhook; the signature covers the time and the body.
func (g *signer) sign(body []byte, at time.Time) string {
	signed := fmt.Appendf(nil, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,kid=%s,ed25519=%s", at.Unix(), g.kid, text64(ed25519.Sign(g.key, signed)))
}

// token returns the token that the holder of a wake presents: the wake and a MAC over it. Every gateway can check it
// before it reads the body, even if the wake has ended since.
func (g *signer) token(r register, id string, generation uint64, wake string) string {
	mac := hmac.New(sha256.New, g.tokens)
	fmt.Fprintf(mac, "%s\x00%d:%s\x00%d\x00%s", r.space, len(id), id, generation, wake)
	return text64(mac.Sum(nil)) + "." + strconv.FormatUint(generation, 10) + "." + wake
}

// checks reports whether token belongs to a wake of a subscription, and returns the wake.
func (g *signer) checks(token string, r register, id string) (generation uint64, wake string, ok bool) {
	_, rest, _ := strings.Cut(token, ".")
	number, wake, _ := strings.Cut(rest, ".")
	generation, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, "", false
	}
	return generation, wake, hmac.Equal([]byte(token), []byte(g.token(r, id, generation, wake)))
}

// A keySet is a JSON Web Key Set.
type keySet struct {
	Keys []jwk `json:"keys"`
}

type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Alg   string `json:"alg"`
	Use   string `json:"use"`
	ID    string `json:"kid"`
}

func (g *signer) keySet() keySet {
	return keySet{[]jwk{{"OKP", "Ed25519", text64(g.public()), "EdDSA", "sig", g.kid}}}
}

func text64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func newSecret() string { return rand.Text() }
