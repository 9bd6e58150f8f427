package main

import (
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/demo"
)

type demoCmd struct {
	Listen      listenAddress `name:"listen" default:"127.0.0.1:8090" placeholder:"HOST:PORT" help:"Where the page is, on this machine only; port 0 takes a free one."`
	Words       int           `default:"3000" placeholder:"N" help:"Words of an answer."`
	Pause       time.Duration `default:"80ms" placeholder:"TIME" help:"Time for a word."`
	RedisServer string        `placeholder:"PROGRAM" help:"Server program, a path or a name on PATH; redis-server, or else valkey-server, or else an embedded one, if not given."`
}

func (demoCmd) Help() string { return examples("demo", "demo --words 500 --pause 20ms") }

// Run shows the page until a signal ends it.
func (c *demoCmd) Run(s *session) error {
	if c.Words < 1 || c.Pause <= 0 {
		return usagef("--words and --pause have to be above 0")
	}
	if err := onLoopback("--listen", string(c.Listen), "and whoever opens the page stops and starts processes of this one"); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return failedf("%w", err)
	}
	listener, err := net.Listen("tcp", string(c.Listen))
	if err != nil {
		return failedf("--listen: %w", err)
	}
	defer listener.Close()
	err = demo.Run(s.ctx, demo.Options{
		Program: program, Env: s.without("serve"), Listener: listener,
		Words: c.Words, Pause: c.Pause, Redis: c.RedisServer, Out: s.stdout,
	})
	var unread *outputError
	if err == nil || s.ctx.Err() != nil || errors.As(err, &unread) {
		return nil
	}
	return failedf("%w", err)
}

// without returns the environment without the variables that set flags of a command.
func (s *session) without(command string) []string {
	names := []string{variable("config")}
	for _, node := range s.call.Model.Children {
		if node.Name == command {
			for _, group := range node.AllFlags(true) {
				for _, flag := range group {
					names = append(names, variable(flag.Name))
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(s.env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, name)
	})
}
