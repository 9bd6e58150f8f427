package front

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHosts(t *testing.T) {
	h, err := NewHosts([]string{"https://App.example.com:8443", "http://[2001:db8::1]:80"}, []string{"hub.internal", "10.0.0.7", "Pod.Local."})
	require.NoError(t, err)
	handler := h.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	status := func(host, path string) int {
		r := httptest.NewRequest(http.MethodGet, "http://placeholder"+path, nil)
		r.Host = host
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	for _, host := range []string{
		"127.0.0.1", "127.0.0.1:8080", "127.1.2.3:9", "[::1]", "[::1]:8080", "[::ffff:127.0.0.1]:80", "localhost", "LOCALHOST:1", "localhost.",
		"app.example.com", "app.example.com:1", "APP.example.com.", "[2001:db8::1]:9", "hub.internal:8080", "10.0.0.7:8080", "pod.local",
	} {
		require.Equal(t, http.StatusNoContent, status(host, "/streamz"), host)
	}
	for _, host := range []string{
		"", "evil.example.com", "evil.example.com:8080", "127.0.0.1.evil.example.com", "localhost.evil.example.com", "xlocalhost", "0.0.0.0:8080", "0",
		"[::]:8080", "10.0.0.8", "2130706433", "0x7f.1", "127.1", "[::1%25lo]:80", "[fe80::1%lo]:80", "127.0.0.1@evil.example.com", "evil.example.com#localhost",
		"localhost evil", "[localhost]x", "::1:8080", "example.com", "app.example.com.evil.org",
	} {
		require.Equal(t, http.StatusMisdirectedRequest, status(host, "/streamz"), host)
		require.Equal(t, http.StatusMisdirectedRequest, status(host, "/healthz/x"), host)
		require.Equal(t, http.StatusNoContent, status(host, "/healthz"), host)
		require.Equal(t, http.StatusNoContent, status(host, "/readyz"), host)
	}
	for _, name := range []string{"", "*", "*.example.com", "http://x", "a b", "host:80x:1", "user@host"} {
		_, err := NewHosts(nil, []string{name})
		require.Error(t, err, name)
	}
	_, err = NewHosts([]string{"no-origin"}, nil)
	require.Error(t, err)
}

func FuzzHost(f *testing.F) {
	for _, host := range []string{"localhost", "[::1]:80", "a:1:2", "[", "127.0.0.1:80"} {
		f.Add(host)
	}
	h, _ := NewHosts(nil, nil)
	f.Fuzz(func(t *testing.T, host string) {
		if h.Check(&http.Request{Host: host}) == nil && canonicalHost(canonicalHost(host)) != canonicalHost(host) {
			t.Fatalf("%q has two forms", host)
		}
	})
}
