//go:build !unix

package wsgateway

import "net"

// A direct writes to a socket without blocking. This platform has no such write, so every write may block.
type direct struct{}

func newDirect(net.Conn) *direct { return nil }

func (*direct) write([]byte) int { return 0 }
