package main

import (
	"net"
	"time"

	"github.com/seed-147127fe/streamhub/server"
)

// durableFlags are the flags for Durable Streams.
type durableFlags struct {
	LongPollTimeout  time.Duration `default:"20s" placeholder:"D" help:"How long a long-poll of a Durable Stream waits."`
	LoopbackWebhooks bool          `help:"Let webhooks of subscriptions call this machine with --auth or beyond the loopback, too."`
}

func (f *durableFlags) validate() error {
	if f.LongPollTimeout <= 0 {
		return usagef("--long-poll-timeout %v: want more than nothing", f.LongPollTimeout)
	}
	return nil
}

// apply sets the options for a listener. Webhooks may call this machine only if every client runs on it and has every
// right. With tokens there are tenants, and behind a proxy remote clients look local.
func (f *durableFlags) apply(o *server.Options, at net.Addr) {
	o.LongPollTimeout, o.LoopbackWebhooks = f.LongPollTimeout, f.LoopbackWebhooks
	if tcp, ok := at.(*net.TCPAddr); ok && o.Auth == nil {
		o.LoopbackWebhooks = o.LoopbackWebhooks || tcp.IP.IsLoopback()
	}
}
