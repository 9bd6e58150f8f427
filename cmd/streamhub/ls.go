package main

import (
	"bufio"
	"context"
	"strconv"
	"strings"
	"unicode"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

type lsCmd struct {
	target
	Space string `arg:"" optional:"" help:"Space to list; without it the spaces are listed."`
}

// Run writes one name a line, in byte order.
func (c *lsCmd) Run(s *session) error {
	if c.Space != "" {
		if err := streamhub.CheckName("space", c.Space); err != nil {
			return err
		}
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	names := store.Spaces(s.ctx)
	if c.Space != "" {
		names = store.Segments(s.ctx, c.Space)
	}
	out := bufio.NewWriter(s.stdout)
	for name, err := range names {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if err != nil {
			return err
		}
		if _, err := out.WriteString(oneLine(name) + "\n"); err != nil {
			return err
		}
	}
	return out.Flush()
}

// oneLine returns name, quoted as in Go if it holds what is not for a terminal or for a line.
func oneLine(name string) string {
	if strings.ContainsFunc(name, unicode.IsControl) {
		return strconv.Quote(name)
	}
	return name
}
