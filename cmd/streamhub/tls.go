package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// tlsFlags are the flags for TLS on the listener for clients.
type tlsFlags struct {
	TLSCert       string `name:"tls-cert" placeholder:"F" help:"File with the certificate, and those that lead to its root, in PEM; read again when it changes."`
	TLSKey        string `name:"tls-key" placeholder:"F" help:"File with the key of the certificate in PEM."`
	TLSSelfSigned bool   `name:"tls-self-signed" help:"Make a certificate for the loopback and the names of --host, for trying out: no other program trusts it."`
	H2C           bool   `name:"h2c" help:"Take HTTP/2 without TLS, from a proxy that has the TLS."`
}

// certificates returns the source of the certificate, or nil without TLS.
func (f *tlsFlags) certificates(hosts []string, log *slog.Logger) (*certificates, error) {
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return nil, usagef("--tls-cert and --tls-key go together")
	case f.TLSSelfSigned && f.TLSCert != "":
		return nil, usagef("--tls-self-signed and --tls-cert exclude each other")
	case f.H2C && (f.TLSSelfSigned || f.TLSCert != ""):
		return nil, usagef("--h2c is HTTP/2 without TLS: with TLS there is HTTP/2 anyway")
	case f.TLSSelfSigned:
		pair, err := selfSigned(hosts)
		if err != nil {
			return nil, failedf("--tls-self-signed: %w", err)
		}
		return &certificates{now: pair}, nil
	case f.TLSCert == "":
		return nil, nil
	}
	c := &certificates{cert: f.TLSCert, key: f.TLSKey, log: log}
	if err := c.load(); err != nil {
		return nil, failedf("--tls-cert, --tls-key: %w", err)
	}
	return c, nil
}

// serve serves a listener until the server is shut down.
func (f *tlsFlags) serve(s *http.Server, listener net.Listener, c *certificates) error {
	if c == nil {
		if f.H2C {
			s.Protocols = new(http.Protocols)
			s.Protocols.SetHTTP1(true)
			s.Protocols.SetUnencryptedHTTP2(true)
		}
		return s.Serve(listener)
	}
	s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
	return s.ServeTLS(listener, "", "")
}

// certificates is a certificate that is read again when its files change.
type certificates struct {
	cert, key string // "" for one that does not change
	log       *slog.Logger

	mu      sync.Mutex
	now     *tls.Certificate
	stamp   string // identifies the version of the files that was read last
	checked time.Time
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert == "" || time.Since(c.checked) < lookEvery {
		return c.now, nil
	}
	c.checked = time.Now()
	stamp := c.look()
	if stamp == c.stamp {
		return c.now, nil
	}
	c.stamp = stamp
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil { // one of the two may be there before the other
		c.log.Warn("the certificate has changed and cannot be read; the former one stays", "error", err)
		return c.now, nil
	}
	c.now = &pair
	c.log.Info("the certificate was read again")
	return c.now, nil
}

// trusted reports whether an authority of the system has signed the certificate.
func (c *certificates) trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	chain := x509.NewCertPool()
	for _, der := range c.now.Certificate {
		if cert, err := x509.ParseCertificate(der); err == nil {
			chain.AddCert(cert)
		}
	}
	_, err := c.now.Leaf.Verify(x509.VerifyOptions{Intermediates: chain})
	return err == nil
}

func (c *certificates) load() error {
	c.stamp = c.look()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.now, c.checked = &pair, time.Now()
	return nil
}

// look returns a stamp that changes when one of the files changes.
func (c *certificates) look() string {
	stamp := ""
	for _, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			stamp += fmt.Sprintf("%v %d;", info.ModTime(), info.Size())
		}
	}
	return stamp
}

// authoritiesOf reads the file of a flag that names authorities to trust. Without a file it returns nil, and the
// system's authorities count.
func authoritiesOf(flag, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, failedf("--%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, usagef("--%s: %s holds no certificate in PEM", flag, file)
	}
	return pool, nil
}

// connectTimeout bounds how long a command waits for a gateway to take its connection.
const connectTimeout = 10 * time.Second

// transportTo makes a transport to a server whose certificate one of authorities has signed.
func transportTo(authorities *x509.CertPool) *http.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: connectTimeout}).DialContext}
	if authorities != nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	}
	return t
}

// selfSignedLife is the validity of a self-signed certificate.
const selfSignedLife = 30 * 24 * time.Hour

func selfSigned(hosts []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "streamhub serve --tls-self-signed"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(selfSignedLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
