package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// certificate writes a certificate for "redis.test" that is its own authority, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis.test"}, DNSNames: []string{"redis.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestServeTLS wants both sides to show a certificate, and the password in no argument list.
func TestServeTLS(t *testing.T) {
	const password = "a secret of Redis"
	cert, key := certificate(t)
	plain := testredis.Start(t, &testredis.Options{Password: password})
	admin := plain.Client()
	port := freePort(t)
	for name, value := range map[string]string{"tls-cert-file": cert, "tls-key-file": key, "tls-ca-cert-file": cert} {
		if err := admin.ConfigSet(within(t), name, value).Err(); err != nil {
			t.Skipf("this server has no TLS (%v): use one that has", err)
		}
	}
	if err := admin.ConfigSet(within(t), "tls-port", port).Err(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := (&url.URL{Scheme: "rediss", Host: "127.0.0.1:" + port}).String()
	flags := []string{"--redis", address, "--redis-tls-ca", cert, "--redis-tls-cert", cert, "--redis-tls-key", key, "--redis-tls-server-name", "redis.test", "--redis-password-file", file}
	good(t, strings.NewReader("hello\n"), append([]string{"append", "demo/log"}, flags...)...)
	s := serve(t, flags...)
	if code, _ := get(t, s.front+"/readyz"); code != 200 {
		t.Error(code)
	}
	if _, body := get(t, s.admin+"/debug/pprof/cmdline"); strings.Contains(body, password) {
		t.Error("pprof shows the password")
	}
	s.end(syscall.SIGTERM)
	if strings.Contains(s.err.String(), password) {
		t.Error("the log shows the password")
	}

	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--redis", address, "--redis-password-file", file}, exitFailed, "--redis-tls-ca"},
		{append(flags[:8:8], "--redis-password-file", file), exitFailed, "certificate"}, // another name
		{flags[:10], exitFailed, "password"},
		{[]string{"--redis", plain.URL(), "--redis-tls-ca", cert}, exitUsage, "rediss://"},
		{[]string{"--redis", address, "--redis-tls-cert", cert}, exitUsage, "--redis-tls-key"},
		{[]string{"--redis", address, "--redis-tls-ca", file}, exitUsage, "PEM"},
		{[]string{"--redis", address, "--redis-tls-ca", t.TempDir()}, exitFailed, "--redis-tls-ca"},
		{[]string{"--redis", address, "--redis-tls-cert", cert, "--redis-tls-key", file}, exitFailed, "--redis-tls-key"},
		{[]string{"--redis", address, "--redis-password-file", t.TempDir()}, exitFailed, "--redis-password-file"},
	} {
		r := call(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, test.args...)...)
		if r.code != test.code || !strings.Contains(r.err, test.says) || strings.Contains(r.err, "unknown outcome") {
			t.Errorf("%v: %+v", test.args, r)
		}
	}
}

// TestDurabilityFlag asks for a level that the server cannot give, and for one that it does not reach.
func TestDurabilityFlag(t *testing.T) {
	server := testredis.Start(t, nil)
	r := call(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", server.URL(), "--durability", "fsync")
	if r.code != exitFailed || !strings.Contains(r.err, "durability with fsync") {
		t.Errorf("%+v", r)
	}
	r = call(t, nil, "serve", "--durability", "disk")
	if r.code != exitUsage || !strings.Contains(r.err, "replicas=N") {
		t.Errorf("%+v", r)
	}
	s := serve(t, "--redis", server.URL())
	defer s.end(syscall.SIGTERM)
	gateway := strings.Replace(s.front, "http://", "ws://", 1)
	for _, to := range [][]string{{"--redis", server.URL()}, {"--server", gateway}} {
		r = call(t, strings.NewReader("x\n"), append([]string{"append", "demo/log", "--durability", "replicas=1,timeout=10ms"}, to...)...)
		if r.code != exitFailed || !strings.Contains(r.err, "not confirmed") || !strings.Contains(r.out, `"records":1`) {
			t.Errorf("%v: %+v", to, r)
		}
	}
}
