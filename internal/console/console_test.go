package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/console"
)

func ask(c *console.Console, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

// TestFiles has every file of the page, which may run nothing but its own.
func TestFiles(t *testing.T) {
	c := console.New("", false)
	page := ask(c, "GET", "/", "")
	require.Contains(t, page.Body.String(), "<title>streamhub</title>")
	require.Contains(t, page.Header().Get("Content-Security-Policy"), "default-src 'none'")
	require.NotContains(t, page.Header().Get("Content-Security-Policy"), "unsafe")
	for part := range strings.SplitSeq(page.Body.String(), `"`) {
		if strings.HasPrefix(part, "/console/") {
			require.True(t, c.Owns(part), part)
			require.Equal(t, http.StatusOK, ask(c, "GET", part, "").Code, part)
		}
		require.False(t, strings.HasPrefix(part, "http"), "%s comes from elsewhere", part)
	}
	require.Contains(t, ask(c, "GET", "/console/LICENSE", "").Body.String(), "MIT")
	require.False(t, c.Owns("/metrics"))
	require.Equal(t, http.StatusMethodNotAllowed, ask(c, "PUT", "/", "").Code)
	require.JSONEq(t, `{"in":true,"asks":false,"write":false}`, ask(c, "GET", "/console/state", "").Body.String())
}

// TestSession asks for the token once, and lets in pages of its own origin only.
func TestSession(t *testing.T) {
	const token = "open sesame, please"
	c := console.New(token, true)
	require.JSONEq(t, `{"in":false,"asks":true,"write":true}`, ask(c, "GET", "/console/state", "").Body.String())
	require.Equal(t, http.StatusUnauthorized, ask(c, "POST", "/console/login", "guess").Code)
	require.Equal(t, http.StatusForbidden, ask(c, "POST", "/console/login", token, "Origin", "http://evil.example").Code)
	require.Equal(t, http.StatusRequestEntityTooLarge, ask(c, "POST", "/console/login", strings.Repeat("x", 1<<20)).Code)
	in := ask(c, "POST", "/console/login", token)
	require.Equal(t, http.StatusNoContent, in.Code)
	cookies := in.Result().Cookies()
	require.Len(t, cookies, 1)
	require.True(t, cookies[0].HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, cookies[0].SameSite)
	require.NotContains(t, cookies[0].Value, "sesame")

	allows := func(c *console.Console, value string, header ...string) bool {
		r := httptest.NewRequest("GET", "/v1/operate/overview", nil)
		r.AddCookie(&http.Cookie{Name: cookies[0].Name, Value: value})
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return c.Allows(r)
	}
	value := cookies[0].Value
	require.True(t, allows(c, value))
	require.True(t, allows(console.New(token, false), value), "a session survives a restart")
	require.False(t, allows(console.New("another token!", false), value), "it ends with the token")
	require.False(t, allows(c, value, "Origin", "http://evil.example"))
	parts := strings.Split(value, ".")
	until, id, signature := parts[0], parts[1], parts[2]
	for _, forged := range []string{
		"", ".", "..", "9" + value, until + "." + id + ".", until + "." + id + "." + signature[1:], until + ".other." + signature, until + "." + signature,
		"0." + id + "." + signature, signature,
	} {
		require.False(t, allows(c, forged), forged)
	}
	again := ask(c, "POST", "/console/login", token).Result().Cookies()[0].Value
	out := ask(c, "POST", "/console/logout", "", "Cookie", cookies[0].Name+"="+value)
	require.Negative(t, out.Result().Cookies()[0].MaxAge)
	require.False(t, allows(c, value), "it is over for everybody who has the cookie")
	require.True(t, allows(c, again), "that of another page goes on")
}

// TestSessionEnds ends what is under way for a session with it: at its time, and when its page logs out.
func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := console.New("open sesame, please", true)
		enter := func() (*http.Cookie, context.Context) {
			t.Helper()
			in := ask(c, "POST", "/console/login", "open sesame, please").Result().Cookies()[0]
			r := httptest.NewRequest("GET", "/v1/operate/tail", nil)
			r.AddCookie(in)
			ctx, leave, ok := c.Enter(r)
			require.True(t, ok)
			t.Cleanup(leave)
			return in, ctx
		}
		began := time.Now()
		first, left := enter()
		_, stays := enter()
		ask(c, "POST", "/console/logout", "", "Cookie", first.Name+"="+first.Value)
		<-left.Done()
		require.ErrorIs(t, context.Cause(left), console.ErrEnded)
		require.Zero(t, time.Since(began))
		require.NoError(t, stays.Err())
		<-stays.Done()
		require.ErrorIs(t, context.Cause(stays), console.ErrEnded)
		require.LessOrEqual(t, time.Since(began), 12*time.Hour)

		// Those that logged out are forgotten after their time only, and are bounded.
		for range 1100 {
			in := ask(c, "POST", "/console/login", "open sesame, please").Result().Cookies()[0]
			ask(c, "POST", "/console/logout", "", "Cookie", in.Name+"="+in.Value)
			r := httptest.NewRequest("GET", "/v1/operate/tail", nil)
			r.AddCookie(in)
			require.False(t, c.Allows(r))
		}
	})
}
