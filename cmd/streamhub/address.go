package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/seed-147127fe/streamhub/hub"
)

// The values of flags that hold addresses are checked when they are parsed, so that config check reports their errors
// too. An empty value means none.

// gatewayURLs are the addresses of gateways, separated by commas.
type gatewayURLs string

// UnmarshalText is called by the parser.
func (g *gatewayURLs) UnmarshalText(text []byte) error {
	for address := range strings.SplitSeq(string(text), ",") {
		u, err := url.Parse(address)
		switch {
		case err == nil && u.Host != "" && (u.Scheme == "ws" || u.Scheme == "wss" || u.Scheme == "http" || u.Scheme == "https"):
			if err := checkPort(u.Port()); err != nil {
				return err
			}
		case strings.ContainsRune(address, '@'): // it may hold a password
			return errors.New("it is no address of a gateway: write ws://HOST:PORT or wss://HOST")
		default:
			return fmt.Errorf("%q is no address of a gateway: write ws://HOST:PORT or wss://HOST", address)
		}
	}
	*g = gatewayURLs(text)
	return nil
}

// checkPort returns an error unless port is a port number; "" is the default port of the scheme.
func checkPort(port string) error {
	if port == "" {
		return nil
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q is no port: want 0 to 65535", port)
	}
	return nil
}

// redisURL is the address of a Redis.
type redisURL string

// UnmarshalText is called by the parser.
func (r *redisURL) UnmarshalText(text []byte) error {
	if len(text) > 0 {
		client, err := hub.NewClient(string(text)) // it connects when it is used
		if err != nil {
			return err
		}
		_ = client.Close()
	}
	*r = redisURL(text)
	return nil
}

// listenAddress is where a server listens.
type listenAddress string

// UnmarshalText is called by the parser.
func (l *listenAddress) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err != nil || port == "" {
		return fmt.Errorf("%q: want HOST:PORT, 127.0.0.1:8080 say", text)
	}
	*l = listenAddress(text)
	return checkPort(port)
}
