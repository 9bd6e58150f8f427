package auth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// oneKey has one key of tickets.
type oneKey struct{ id, key string }

func (k oneKey) Current(context.Context) (string, []byte, error) { return k.id, []byte(k.key), nil }

func (k oneKey) Find(_ context.Context, id string) ([]byte, error) {
	if id != k.id {
		return nil, nil
	}
	return []byte(k.key), nil
}

var ticketKeys = oneKey{"k1", strings.Repeat("k", 32)}

func principal(t testing.TB, ends time.Time, scopes ...string) *auth.Principal {
	t.Helper()
	p, err := auth.Identify(t.Context(), known(streamhub.Identity{Subject: "anna", Issuer: "we", Expires: ends, Scopes: scopes}), "")
	require.NoError(t, err)
	return p
}

// TestTicketCovers: a ticket allows what was asked for and nothing else, and is made only if the token
// allows all of it.
func TestTicketCovers(t *testing.T) {
	store, other := uuid.New(), uuid.New()
	scope := func(rest string) string { return "streamhub::" + store.String() + "::" + rest }
	now := time.Now()
	for _, c := range []struct {
		scopes      []string
		read, write []string
		want        error
	}{
		{[]string{"streamkit::*"}, []string{"live/answer-17"}, nil, nil},
		{[]string{"streamkit::*"}, []string{"live/*"}, []string{"a%3A%3Ab/c::d*"}, nil},
		{[]string{scope("live::read")}, []string{"live/a*", "live/b"}, nil, nil},
		{[]string{scope("live::a*::read")}, []string{"live/a*", "live/ab", "live/ab*"}, nil, nil},
		{[]string{scope("live::a::*")}, []string{"live/a"}, []string{"live/a"}, nil},
		{[]string{"streamkit::" + other.String()}, []string{"live/a"}, nil, streamhub.ErrPermissionDenied},
		{[]string{scope("live::read")}, nil, []string{"live/a"}, streamhub.ErrPermissionDenied},
		{[]string{scope("live::read")}, []string{"live/a", "other/a"}, nil, streamhub.ErrPermissionDenied},
		{[]string{scope("live::a*::read")}, []string{"live/*"}, nil, streamhub.ErrPermissionDenied},
		{[]string{scope("live::ab*::read")}, []string{"live/a*"}, nil, streamhub.ErrPermissionDenied},
		{[]string{scope("live::a::read")}, []string{"live/a*"}, nil, streamhub.ErrPermissionDenied},
		{[]string{scope("live::a%2A::read")}, []string{"live/a*"}, nil, streamhub.ErrPermissionDenied},
		{[]string{"streamkit::*"}, nil, nil, streamhub.ErrInvalidArgument},
		{[]string{"streamkit::*"}, []string{"live"}, nil, streamhub.ErrInvalidArgument},
		{[]string{"streamkit::*"}, []string{"live/"}, nil, streamhub.ErrInvalidArgument},
		{[]string{"streamkit::*"}, []string{"/a"}, nil, streamhub.ErrInvalidArgument},
		{[]string{"streamkit::*"}, []string{"*/a"}, nil, streamhub.ErrInvalidArgument},
		{[]string{"streamkit::*"}, []string{"live/a*b"}, nil, streamhub.ErrInvalidArgument},
		{[]string{"streamkit::*"}, []string{"live/%zz"}, nil, streamhub.ErrInvalidArgument},
		{[]string{"streamkit::*"}, []string{strings.Repeat("live/aaaaaaaaaaaa ", 1)[:16] + strings.Repeat("a", 5000)}, nil, streamhub.ErrTooLarge},
	} {
		p := principal(t, now.Add(time.Hour), c.scopes...)
		text, until, err := auth.SignTicket(t.Context(), ticketKeys, p, store, &auth.TicketRequest{Read: c.read, Write: c.write}, now)
		if c.want != nil {
			require.ErrorIs(t, err, c.want, "%v, %v", c.scopes, c.read)
			continue
		}
		require.NoError(t, err, "%v, %v", c.scopes, c.read)
		require.Equal(t, now.Add(time.Minute), until)
		got, err := auth.CheckTicket(t.Context(), ticketKeys, text, now)
		require.NoError(t, err)
		require.Equal(t, "anna", got.Subject)
		require.NoError(t, p.Succeed(got))
		require.Equal(t, now.Add(time.Hour).UnixMilli(), got.Expires.UnixMilli(), "what it opens ends with the token")
		require.False(t, got.Allows(streamhub.Right{Store: other, Space: "live", Segment: "a"}))
		require.False(t, got.Allows(streamhub.Right{Store: store}))
		require.False(t, got.Allows(streamhub.Right{Store: store, Space: "x", Segment: "a"}))
		require.Equal(t, len(c.write) > 0 && c.write[0] == "live/a", got.Allows(streamhub.Right{Store: store, Space: "live", Segment: "a", Write: true}))
		require.Equal(t, len(c.write) > 0 && c.write[0] != "live/a", got.Allows(streamhub.Right{Store: store, Space: "a::b", Segment: "c::de", Write: true}))
	}
	_, _, err := auth.SignTicket(t.Context(), ticketKeys, principal(t, now.Add(time.Hour), "streamkit::*"), auth.Internal, &auth.TicketRequest{Read: []string{"keys/tickets"}}, now)
	require.ErrorIs(t, err, streamhub.ErrPermissionDenied, "the keys themselves")
}

// TestTicketTimes: a ticket ends when it says, and with its token at the latest.
func TestTicketTimes(t *testing.T) {
	now := time.Now()
	store := uuid.New()
	at := func(after time.Duration) time.Time { return now.Add(after) }
	for _, c := range []struct {
		ttl       string
		token, in time.Duration // until the token ends; until the ticket does, 0 where it is refused
	}{
		{"", time.Hour, time.Minute}, {"10s", time.Hour, 10 * time.Second}, {"5m", time.Hour, 5 * time.Minute}, {"5m", time.Minute, time.Minute},
		{"5m1s", time.Hour, 0}, {"0s", time.Hour, 0}, {"-1s", time.Hour, 0}, {"1", time.Hour, 0}, {"soon", time.Hour, 0},
	} {
		p := principal(t, at(c.token), "streamkit::*")
		text, until, err := auth.SignTicket(t.Context(), ticketKeys, p, store, &auth.TicketRequest{Read: []string{"a/b"}, TTL: c.ttl}, now)
		if c.in == 0 {
			require.ErrorIs(t, err, streamhub.ErrInvalidArgument, c.ttl)
			continue
		}
		require.NoError(t, err)
		require.WithinDuration(t, at(c.in), until, time.Millisecond, c.ttl)
		_, err = auth.CheckTicket(t.Context(), ticketKeys, text, at(c.in-2*time.Millisecond))
		require.NoError(t, err)
		_, err = auth.CheckTicket(t.Context(), ticketKeys, text, at(c.in))
		require.ErrorIs(t, err, auth.ErrTicket)
	}
	text, _, err := auth.SignTicket(t.Context(), ticketKeys, principal(t, time.Time{}, "streamkit::*"), store, &auth.TicketRequest{Read: []string{"a/b"}}, now)
	require.NoError(t, err)
	p, err := auth.CheckTicket(t.Context(), ticketKeys, text, now)
	require.NoError(t, err)
	require.True(t, p.Expires.IsZero(), "of a token that never ends")
}

// TestTicketAttacks presents tickets that a careless gateway takes, and a ticket as a token.
func TestTicketAttacks(t *testing.T) {
	now := time.Now()
	p := principal(t, now.Add(time.Hour), "streamkit::*")
	good, _, err := auth.SignTicket(t.Context(), ticketKeys, p, uuid.Nil, &auth.TicketRequest{Read: []string{"a/b"}}, now)
	require.NoError(t, err)
	payload := jwt.MapClaims{"until": now.Add(time.Minute).UnixMilli(), "scopes": []string{"streamkit::*"}, "exp": now.Add(time.Hour).Unix()}
	forged := func(method jwt.SigningMethod, key any, header map[string]any) string {
		unsigned := jwt.NewWithClaims(method, payload)
		unsigned.Header["typ"], unsigned.Header["kid"] = "streamhub-ticket", "k1"
		for name, value := range header {
			unsigned.Header[name] = value
		}
		text, err := unsigned.SignedString(key)
		require.NoError(t, err)
		return text
	}
	body := strings.Split(good, ".")
	for name, text := range map[string]string{
		"empty": "", "dots": "..", "cut": good[:len(good)-2], "longer": good + "A", "unsigned": body[0] + "." + body[1] + ".",
		"none": forged(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "the key itself": forged(jwt.SigningMethodHS256, []byte(ticketKeys.key), nil),
		"another key": forged(jwt.SigningMethodHS256, secret, nil), "another id": forged(jwt.SigningMethodHS256, []byte(ticketKeys.key), map[string]any{"kid": "k2"}),
		"a list of ids": forged(jwt.SigningMethodHS256, secret, map[string]any{"kid": []string{"k1"}}), "a token": sign(t, jwt.SigningMethodHS256, secret, nil, claims(nil)),
		"long": strings.Repeat("a", 5000), "other payload": body[0] + "." + strings.Split(forged(jwt.SigningMethodHS256, secret, nil), ".")[1] + "." + body[2],
	} {
		_, err := auth.CheckTicket(t.Context(), ticketKeys, text, now)
		require.ErrorIs(t, err, auth.ErrTicket, name)
	}
	// The same secret for both is no way from one to the other.
	same := oneKey{"k1", string(secret)}
	ticket, _, err := auth.SignTicket(t.Context(), same, p, uuid.Nil, &auth.TicketRequest{Read: []string{"a/b"}}, now)
	require.NoError(t, err)
	v, err := auth.NewVerifier(auth.Options{HMACSecret: secret})
	require.NoError(t, err)
	_, err = v.Authenticate(t.Context(), ticket)
	require.Error(t, err)
	_, err = auth.CheckTicket(t.Context(), same, sign(t, jwt.SigningMethodHS256, secret, map[string]any{"kid": "k1"}, claims(nil)), now)
	require.Error(t, err)
}

// TestTicketOf finds the one ticket of a URL.
func TestTicketOf(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "a=b": "", "ticket=x.y.z": "x.y.z", "a=b&ticket=x": "x", "tickets=x": "", "xticket=x": "", "ticket=": "?", "ticket": "?",
		"ticket=a&ticket=b": "?", "%74icket=x": "", "ticket=a;b": "", "ticket=%zz": "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		require.Equal(t, want, auth.TicketOf(r), query)
	}
}

// FuzzTicket presents anything, within a time and a memory.
func FuzzTicket(f *testing.F) {
	good, _, err := auth.SignTicket(context.Background(), ticketKeys, principal(f, time.Now().Add(time.Hour), "streamkit::*"), uuid.Nil, &auth.TicketRequest{Read: []string{"a/b"}}, time.Now())
	require.NoError(f, err)
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := auth.CheckTicket(context.Background(), ticketKeys, text, time.Now()); err == nil && p.Allows(streamhub.Right{Space: "a", Segment: "c"}) {
			t.Errorf("%q allows more than any ticket was made for", text)
		}
	})
}
