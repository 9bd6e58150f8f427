package auth

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// fixedKeys holds the configured public keys, by algorithm.
type fixedKeys map[string][]jwt.VerificationKey

// parsePEM reads public keys: PKIX, PKCS 1 and certificates. Only the key of a certificate is used.
func parsePEM(text []byte) (fixedKeys, error) {
	keys := fixedKeys{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		public, err := parseBlock(block)
		if err == nil {
			err = checkKey(public)
		}
		if err != nil {
			return nil, fmt.Errorf("a PEM block %q: %w", block.Type, err)
		}
		algorithm := algorithmOf(public)
		if algorithm == "" {
			return nil, fmt.Errorf("a PEM block %q: a key that is neither RSA, nor P-256, nor Ed25519", block.Type)
		}
		keys[algorithm] = append(keys[algorithm], public)
		if len(keys[algorithm]) > maxCandidates {
			return nil, fmt.Errorf("more than %d keys for %s", maxCandidates, algorithm)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key in PEM form")
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	return nil, errors.New("it is no public key")
}

func (k fixedKeys) find(algorithm string) (any, error) {
	if len(k[algorithm]) == 0 {
		return nil, fmt.Errorf("no key for %s", algorithm)
	}
	return jwt.VerificationKeySet{Keys: k[algorithm]}, nil
}
