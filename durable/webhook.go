package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// checkTarget refuses a URL that can never be called. The addresses of a host name are checked when it is dialled,
// because they may have changed by then.
func checkTarget(text string, loopback bool) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return rejected("webhook.url is no URL of http or https")
	}
	if port := u.Port(); port != "" {
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return rejected("webhook.url has a port that is none")
		}
	}
	// A dot at the end of a name means the same host, so it must not hide localhost.
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	address, err := netip.ParseAddr(host)
	local := err != nil && (host == "localhost" || strings.HasSuffix(host, ".localhost"))
	switch {
	// Resolvers take 127.1, 2130706433 and 0x7f.1 for addresses. The dial would refuse them too, but only long after
	// the subscription was created.
	case err != nil && isNumber(host[strings.LastIndexByte(host, '.')+1:]):
		return rejected("webhook.url has an address in an unusual form: write four numbers or a name")
	case local && !loopback, err == nil && !mayCall(address, loopback, net.InterfaceAddrs):
		return rejected("webhook.url is an address that is not called")
	// Plain http is allowed only for loopback addresses, because no network carries the token of the wake there.
	case u.Scheme != "https" && !local && (err != nil || !address.Unmap().IsLoopback()):
		return rejected("webhook.url needs https")
	}
	return nil
}

// isNumber reports whether the last label of a host makes it an address, by the rule of the URL standard: no name
// ends in a number (https://url.spec.whatwg.org/#ends-in-a-number-checker).
func isNumber(label string) bool {
	if digits, hex := strings.CutPrefix(label, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// unicast has all public IPv6 addresses. Other addresses are private, or stand for an IPv4 address: NAT64, mapped and
// translated addresses.
var unicast = netip.MustParsePrefix("2000::/3")

// privateNets are the non-public networks for which netip has no method, and networks within [unicast] that stand for
// IPv4 addresses (6to4, Teredo). Most are from the registries of special-purpose addresses (RFC 6890).
var privateNets = func() (nets []netip.Prefix) {
	for _, text := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
		"168.63.129.16/32", // of Azure: looks public, and reaches the host of the virtual machine
	} {
		nets = append(nets, netip.MustParsePrefix(text))
	}
	return nets
}()

// mayCall reports whether a webhook may go to an address. own returns the addresses of this machine: a public address
// of its interfaces reaches the machine itself, like the loopback.
func mayCall(a netip.Addr, loopback bool, own func() ([]net.Addr, error)) bool {
	// Unmap, because ::ffff:127.0.0.1 is dialled as 127.0.0.1.
	a = a.WithZone("").Unmap()
	if a.IsLoopback() {
		return loopback
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !unicast.Contains(a) {
		return false
	}
	for _, private := range privateNets {
		if private.Contains(a) {
			return false
		}
	}
	return loopback || !among(a, own)
}

// among reports whether a is one of the addresses. It also returns true if they cannot be read.
func among(a netip.Addr, addresses func() ([]net.Addr, error)) bool {
	all, err := addresses()
	for _, network := range all {
		prefix, unread := netip.ParsePrefix(network.String())
		if unread == nil && prefix.Addr().WithZone("").Unmap() == a {
			return true
		}
	}
	return err != nil
}

var errAddress = errors.New("an address that is not called")

const (
	// webhookTime bounds a call as a whole, from the look-up of the name to the last byte of the reply, and each phase
	// of it.
	webhookTime = 10 * time.Second
	// maxReply is how many bytes of a reply are read. A longer reply is cut and thus ignored, because it is not valid
	// JSON.
	maxReply     = 64 << 10
	maxWebhooks  = 32 // of one store at the same time
	contentsJSON = "application/json"
)

// newCaller makes the client that calls webhooks: no redirects, no proxy, and only allowed addresses, which are checked
// when they are dialled. With a proxy the check would see the address of the proxy, not that of the receiver.
func newCaller(loopback bool) *http.Client {
	dialer := &net.Dialer{Timeout: webhookTime, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !mayCall(at.Addr(), loopback, net.InterfaceAddrs) {
			return errAddress
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, MaxConnsPerHost: maxWebhooks, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: webhookTime, ForceAttemptHTTP2: true},
		// A redirect is returned as the reply. Its status is not 2xx, so the delivery fails.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       webhookTime,
	}
}

// call sends a signed webhook. done reports that the receiver has answered that it has handled everything.
func call(ctx context.Context, client *http.Client, g *signer, to string, body []byte) (done bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", contentsJSON)
	r.Header.Set("User-Agent", "streamhub")
	r.Header.Set("Webhook-Signature", g.sign(body, time.Now()))
	response, err := client.Do(r)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return false, err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return false, fmt.Errorf("the receiver answered %d", response.StatusCode)
	}
	var answer struct {
		Done bool `json:"done"`
	}
	_ = json.Unmarshal(reply, &answer) // a reply of another form does not set done
	return answer.Done, nil
}

// retryAfter returns the delay after the given number of failures. It doubles from one second to a minute, and varies
// at random by a fifth.
func retryAfter(failures int) time.Duration {
	wait := min(time.Second<<min(failures-1, 6), time.Minute)
	return wait - wait/5 + jitter(2*wait/5)
}
