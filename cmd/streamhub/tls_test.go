package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// writePair writes a certificate for the loopback, and returns the pool that trusts it.
func writePair(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	pair, err := selfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	for name, text := range map[string][]byte{cert: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

// TestTLS asks over HTTP/2, replaces the certificate under a running serve, and replaces it by garbage.
func TestTLS(t *testing.T) {
	cert, key := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	first := writePair(t, cert, key)
	p := start(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	m := regexp.MustCompile(`^listening (https://127\.0\.0\.1:[1-9]\d*) `).FindStringSubmatch(p.line())
	if m == nil {
		t.Fatal("no address")
	}
	get := func(pool *x509.CertPool) (*http.Response, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(within(t), http.MethodGet, m[1]+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Client{Transport: transport}).Do(r)
		if err == nil {
			_ = answer.Body.Close()
		}
		return answer, err
	}
	answer, err := get(first)
	if err != nil || answer.ProtoMajor != 2 || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	until(t, "the hint", func() bool { return strings.Contains(p.err.String(), " --server-tls-ca "+shellQuote(cert)+"\n") })
	trustGateway(t, p, m[1], cert)
	second := writePair(t, cert, key)
	until(t, "the new certificate", func() bool {
		_, err := get(second)
		return err == nil
	})
	if _, err := get(first); err == nil {
		t.Error("the former certificate is still shown")
	}
	if err := os.WriteFile(cert, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "a warning", func() bool {
		if _, err := get(second); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(p.err.String(), "cannot be read")
	})
	p.signal(syscall.SIGTERM)
	if _, code := p.rest(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.err)
	}
	for _, args := range [][]string{{"--tls-cert", cert}, {"--tls-key", key}, {"--tls-self-signed", "--tls-cert", cert, "--tls-key", key}, {"--h2c", "--tls-self-signed"}} {
		if r := call(t, nil, append([]string{"serve"}, args...)...); r.code != exitUsage {
			t.Errorf("%v: exit %d\n%s", args, r.code, r.err)
		}
	}
	if r := call(t, nil, "serve", "--tls-cert", cert, "--tls-key", key); r.code != exitFailed {
		t.Errorf("garbage: exit %d\n%s", r.code, r.err)
	}
}

// trustGateway works through a gateway whose certificate no authority of the system has signed.
func trustGateway(t *testing.T, p *program, gateway, cert string) {
	t.Helper()
	redis := ""
	until(t, "the Redis", func() bool {
		redis = regexp.MustCompile(`redis://[^']+`).FindString(p.err.String())
		return redis != ""
	})
	streamkit := "wss" + strings.TrimPrefix(gateway, "https")
	trusting := []string{"--server", gateway, "--server-tls-ca", cert}
	good(t, strings.NewReader("x\n"), append([]string{"append", "s/g"}, trusting...)...)
	good(t, nil, append([]string{"workers"}, trusting...)...)
	good(t, nil, "import", "--redis", redis, "--source-tls-ca", cert, streamkit)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"ls", "--server", gateway}, exitFailed, "--server-tls-ca FILE"},
		{[]string{"workers", "--server", gateway}, exitFailed, "--server-tls-ca FILE"},
		{[]string{"import", "--redis", redis, streamkit}, exitFailed, "--source-tls-ca FILE"},
		{[]string{"ls", "--server", gateway, "--server-tls-ca", empty}, exitUsage, "holds no certificate"},
		{[]string{"workers", "--server", gateway, "--server-tls-ca", filepath.Dir(empty)}, exitFailed, "--server-tls-ca"},
		{[]string{"ls", "--server", "ws://127.0.0.1:1", "--server-tls-ca", cert}, exitUsage, "wss://"},
		{[]string{"ls", "--redis", redis, "--server-tls-ca", cert}, exitUsage, "--server"},
		{[]string{"workers", "--server", "http" + strings.TrimPrefix(gateway, "https")}, exitFailed, "https://"},
	} {
		if r := call(t, nil, c.args...); r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: exit %d, %s; want %d and %q", c.args, r.code, r.err, c.code, c.want)
		}
	}
}

// TestH2C speaks HTTP/2 and HTTP/1 to one listener without TLS.
func TestH2C(t *testing.T) {
	s := serve(t, "--h2c")
	for major, protocols := range map[int]func(*http.Protocols){1: func(p *http.Protocols) { p.SetHTTP1(true) }, 2: func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		protocols(transport.Protocols)
		r, err := http.NewRequestWithContext(within(t), http.MethodGet, s.front+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		transport.CloseIdleConnections()
		if answer.ProtoMajor != major || answer.StatusCode != http.StatusOK {
			t.Errorf("HTTP/%d: %s %s", major, answer.Proto, answer.Status)
		}
	}
	s.end(syscall.SIGTERM)
}

// TestSelfSigned has serve print commands that work though no program trusts its certificate.
func TestSelfSigned(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not on PATH: install it")
	}
	p := start(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--tls-self-signed")
	p.line()
	var commands []string
	until(t, "the hint", func() bool {
		commands = regexp.MustCompile(`(?m)^  .*curl .*$`).FindAllString(p.err.String(), -1)
		return len(commands) == 2
	})
	if strings.Contains(p.err.String(), "--server") {
		t.Errorf("a command that cannot connect in\n%s", p.err)
	}
	for i, want := range []string{`{"kind":"done"}`, "data:hello\n"} {
		shell := exec.CommandContext(within(t), "sh", "-c", strings.Replace(commands[i], "curl", curl+" -s", 1))
		if out, err := shell.Output(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s; want %s", commands[i], err, out, want)
		}
	}
	p.signal(syscall.SIGTERM)
	if _, code := p.rest(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.err)
	}
}
