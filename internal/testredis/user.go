package testredis

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The user that AsUser makes.
const (
	User     = "streamhub"
	Password = "secret"
)

// AsUser makes the user of the product on the server, with the line of docs/operations.md that fits the server as it stands, and
// the right that a quota needs. At the end of the test it demands that nothing was refused to it.
func AsUser(tb testing.TB, s *Server) {
	tb.Helper()
	page, err := os.ReadFile("docs/operations.md")
	for up := ".."; err != nil && len(up) < 64; up = filepath.Join("..", up) {
		page, err = os.ReadFile(filepath.Join(up, "docs/operations.md"))
	}
	if err != nil {
		tb.Fatal("docs/operations.md is nowhere above the package")
	}
	client := s.Client()
	do := func(line string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var args []any
		for _, word := range strings.Fields(line) {
			args = append(args, word)
		}
		return client.Do(ctx, args...).Err()
	}
	made := false
	for line := range strings.Lines(string(page)) {
		// Later lines are for newer servers; an older one refuses them as a whole.
		if strings.HasPrefix(line, "ACL SETUSER "+User+" ") && do(line) == nil {
			made = true
		}
	}
	if !made {
		tb.Fatal("no documented line makes a user on this server")
	}
	for _, line := range []string{"ACL SETUSER " + User + " on >" + Password, "ACL SETUSER " + User + " +memory|usage", "ACL LOG RESET"} {
		if err := do(line); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		entries, err := s.Client().ACLLog(ctx, 10).Result()
		if err != nil {
			tb.Error(err)
		}
		for _, e := range entries {
			tb.Errorf("refused to the documented user %d times: %s, %s %q", e.Count, e.Reason, e.Context, e.Object)
		}
	})
}
