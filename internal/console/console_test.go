package console_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
	until, signature, _ := strings.Cut(value, ".")
	for _, forged := range []string{"", ".", "9" + value, until + ".", until + "." + signature[1:], "0." + signature, signature} {
		require.False(t, allows(c, forged), forged)
	}
	out := ask(c, "POST", "/console/logout", "")
	require.Negative(t, out.Result().Cookies()[0].MaxAge)
}
