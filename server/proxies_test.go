//go:build proxies

package server_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/server"
)

// TestProxies runs each recipe of docs/proxies.md with the real program.
func TestProxies(t *testing.T) {
	page, err := os.ReadFile("../docs/proxies.md")
	require.NoError(t, err)
	for _, proxy := range []struct {
		name  string
		files func(recipe, dir string) string
		args  func(file, dir string) []string
	}{
		{"nginx", func(recipe, dir string) string {
			return "daemon off; pid " + dir + "/pid; error_log stderr; worker_processes 1;\nevents {}\nhttp {\n" +
				"client_body_temp_path " + dir + "; proxy_temp_path " + dir + "; fastcgi_temp_path " + dir + "; uwsgi_temp_path " + dir + "; scgi_temp_path " + dir + ";\n" + recipe + "}\n"
		}, func(file, dir string) []string { return []string{"-p", dir, "-e", "stderr", "-c", file} }},
		{"haproxy", func(recipe, _ string) string { return recipe }, func(file, _ string) []string { return []string{"-db", "-f", file} }},
		{"caddy", func(recipe, _ string) string { return "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + recipe },
			func(file, _ string) []string { return []string{"run", "--adapter", "caddyfile", "--config", file} }},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			program, err := exec.LookPath(proxy.name)
			if err != nil {
				t.Skipf("%s is not installed; scripts/need-proxies installs it on Debian", proxy.name)
			}
			recipe := regexp.MustCompile("(?s)```" + proxy.name + " server/proxies_test.go\n(.*?)```").FindSubmatch(page)
			require.NotNil(t, recipe)
			h, _, url := start(t, &server.Options{PublicURL: "https://hub.example.com"})
			dir := t.TempDir()
			certify(t, dir)
			listen := freeAddress(t)
			_, port, err := net.SplitHostPort(listen)
			require.NoError(t, err)
			text := strings.NewReplacer("127.0.0.1:8080", strings.TrimPrefix(url, "http://"), "listen 443", "listen "+listen, "bind :443", "bind "+listen,
				"hub.example.com {", "hub.example.com:"+port+" {", "/etc/ssl/", dir+"/", "/var/log/nginx/", dir+"/").Replace(string(recipe[1]))
			file := filepath.Join(dir, "config")
			require.NoError(t, os.WriteFile(file, []byte(proxy.files(text, dir)), 0o600))
			run := exec.Command(program, proxy.args(file, dir)...)
			run.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			log := &synced{}
			run.Stderr, run.Stdout = log, log
			require.NoError(t, run.Start())
			t.Cleanup(func() {
				_ = run.Process.Signal(os.Interrupt)
				late := time.AfterFunc(5*time.Second, func() { _ = run.Process.Kill() })
				defer late.Stop()
				_ = run.Wait()
				if t.Failed() {
					t.Log(log.String())
				}
			})
			transport := &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "hub.example.com"}, ForceAttemptHTTP2: true,
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, listen)
				},
			}
			defer transport.CloseIdleConnections()
			passes(t, h.Store(uuid.Nil), &http.Client{Transport: transport}, "https://hub.example.com:"+port)
		})
	}
}

// passes makes every kind of request through a proxy.
func passes(t *testing.T, store *hub.Store, client *http.Client, base string) {
	token := sign(t, "anna", time.Hour, "streamkit::*")
	do := func(method, path string, body io.Reader) *http.Response {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, method, base+path, body)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "text/plain")
		answer, err := client.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer
	}
	require.Eventually(t, func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/readyz", nil)
		require.NoError(t, err)
		answer, err := client.Do(r)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, patience, 50*time.Millisecond)

	answer := do(http.MethodPut, "/v1/stream/space/name", nil)
	require.Equal(t, http.StatusCreated, answer.StatusCode)
	require.Equal(t, 2, answer.ProtoMajor, "HTTP/2")
	require.Equal(t, "https://hub.example.com/v1/stream/space/name", answer.Header.Get("Location"))
	large := do(http.MethodPost, "/v1/stream/space/name", strings.NewReader(strings.Repeat("x", 16<<20)))
	require.Equal(t, http.StatusNoContent, large.StatusCode, "a body of 16 MiB")

	// An id with a slash and what looks like another path; each line before the body ends, each event at once.
	const id = "a%2F..%2F%7Bb%7D%3F%25"
	body, lines := io.Pipe()
	produced := make(chan int, 1)
	go func() { produced <- do(http.MethodPost, "/v1/live/"+id, body).StatusCode }()
	reader := do(http.MethodGet, "/v1/live/"+id+"?wait=20s", nil)
	events := bufio.NewScanner(reader.Body)
	for _, word := range []string{"one", "two", "three"} {
		_, err := io.WriteString(lines, word+"\n")
		require.NoError(t, err)
		for found := false; !found; found = strings.HasSuffix(events.Text(), word) {
			require.True(t, events.Scan(), "%s did not come: %v", word, events.Err())
		}
	}
	require.NoError(t, lines.Close())
	require.Equal(t, http.StatusOK, <-produced)
	names := 0
	for segment, err := range store.Segments(t.Context(), "live") {
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(segment, "a/../{b}?%~"), segment)
		names++
	}
	require.Positive(t, names)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticket := do(http.MethodPost, "/v1/tickets", strings.NewReader(`{"read":["space/name"]}`))
	require.Equal(t, http.StatusCreated, ticket.StatusCode)
	only1 := client.Transport.(*http.Transport).Clone()
	only1.ForceAttemptHTTP2, only1.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	only1.TLSClientConfig.NextProtos = []string{"http/1.1"}
	defer only1.CloseIdleConnections()
	ws, _, err := websocket.Dial(ctx, base+"/streamz", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: only1}, Subprotocols: []string{wire.Subprotocol}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	require.NoError(t, err)
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
}

// certify writes a certificate, its key, and both in one file.
func certify(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"hub.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, data := range map[string][]byte{"hub.crt": certificate, "hub.key": secret, "hub.pem": append(append([]byte{}, certificate...), secret...)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}

// freeAddress returns an address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}
