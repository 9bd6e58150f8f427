package durable

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// TestOwnAddresses refuses public addresses of this machine, as it does the loopback.
func TestOwnAddresses(t *testing.T) {
	t.Parallel()
	known := func() ([]net.Addr, error) {
		_, v4, err := net.ParseCIDR("8.8.4.0/24")
		require.NoError(t, err)
		v4.IP = net.ParseIP("8.8.4.4") // four bytes in sixteen, as interfaces have them
		return []net.Addr{v4, &net.IPNet{IP: net.ParseIP("2606:4700::1"), Mask: net.CIDRMask(64, 128)}}, nil
	}
	unknown := func() ([]net.Addr, error) { return nil, errors.New("no permission") }
	for address, own := range map[string]bool{
		"8.8.4.4": true, "::ffff:8.8.4.4": true, "2606:4700::1": true, "2606:4700::1%eth0": true, "8.8.4.5": false, "2606:4700::2": false,
	} {
		a := netip.MustParseAddr(address)
		require.Equal(t, !own, mayCall(a, false, known), address)
		require.True(t, mayCall(a, true, known), "%s: this machine may be called", address)
		require.False(t, mayCall(a, false, unknown), address)
	}
	require.False(t, mayCall(netip.MustParseAddr("10.0.0.1"), true, known))
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, network := range all {
		prefix, err := netip.ParsePrefix(network.String())
		require.NoError(t, err, "interfaces have addresses of this form")
		require.False(t, mayCall(prefix.Addr(), false, net.InterfaceAddrs), "%v", prefix)
	}
}

// TestToldFailures has the owner of a subscription read nothing of the network of the gateway.
func TestToldFailures(t *testing.T) {
	t.Parallel()
	posted := func(err error) error { return &url.Error{Op: "Post", URL: "https://intern.example/x", Err: err} }
	private := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 443}, Err: errAddress}
	none := &net.DNSError{Err: "no such host", Name: "intern.example", Server: "10.0.0.2:53", IsNotFound: true}
	require.Equal(t, told(posted(private)), told(posted(none)), "they do not tell whether the name exists")
	require.NotContains(t, told(posted(private)), "10.")
	require.NotContains(t, told(posted(&net.DNSError{Err: "i/o timeout", Server: "10.0.0.2:53", IsTimeout: true})), "10.")
	require.Equal(t, "unavailable", told(fmt.Errorf("%w: dial tcp 10.0.0.3:6379", streamhub.ErrUnavailable)))
	require.Contains(t, told(posted(errors.New("connection refused"))), "refused")

	// The client asks for the address when it dials, so such an error is what a call returns.
	client := newCaller(false)
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1/x", nil)
	require.NoError(t, err)
	_, err = client.Do(r)
	require.ErrorIs(t, err, errAddress)
	require.Equal(t, told(posted(none)), told(err))
}
