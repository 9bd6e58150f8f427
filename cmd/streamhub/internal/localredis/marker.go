package localredis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// markerName is a file in the directory that names the server that wrote it, "Redis 7.0.15" say.
const markerName = "streamhub.server"

var versionLine = regexp.MustCompile(`^(\w+) server v=(\d+\.\d+\.\d+)`)

// A maker is a product and its version.
type maker struct {
	product             string
	major, minor, patch int
}

func (m maker) String() string {
	return fmt.Sprintf("%s %d.%d.%d", m.product, m.major, m.minor, m.patch)
}

func parseMaker(text string) (m maker, err error) {
	_, err = fmt.Sscanf(strings.TrimSpace(text), "%s %d.%d.%d", &m.product, &m.major, &m.minor, &m.patch)
	return m, err
}

// makerOf asks a server program what it is.
func makerOf(ctx context.Context, program string) (maker, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return maker{}, fmt.Errorf("%s --version: %w", program, err)
	}
	words := versionLine.FindStringSubmatch(string(out))
	if words == nil {
		return maker{}, fmt.Errorf("%s --version does not name a version: %.80q", program, out)
	}
	return parseMaker(words[1] + " " + words[2])
}

func (m maker) before(major, minor int) bool {
	return m.major < major || m.major == major && m.minor < minor
}

// reads reports whether m reads the files that w wrote. A product reads those of its own earlier lines. Redis and Valkey
// have one past, up to Redis 7.2, and files in common up to Valkey 8.1; what came after is their own.
func (m maker) reads(w maker) bool {
	switch {
	case m.product == w.product:
		return !m.before(w.major, w.minor)
	case m.product == "Valkey" && w.product == "Redis":
		return w.before(7, 3)
	case m.product == "Redis" && w.product == "Valkey":
		return w.before(9, 0) && !m.before(7, 2)
	}
	return false
}

// checkMarker refuses a directory whose files program does not read.
func checkMarker(ctx context.Context, dir, program string) error {
	text, err := os.ReadFile(filepath.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	wrote, err := parseMaker(string(text))
	if err != nil {
		return fmt.Errorf("%s does not name a server: %w", filepath.Join(dir, markerName), err)
	}
	now, err := makerOf(ctx, program)
	if err != nil {
		return err
	}
	if !now.reads(wrote) {
		return fmt.Errorf("%s was written by %s, and %s is %s, which cannot read it: start with a %s of that version or a later one (--redis-server)",
			dir, wrote, program, now, wrote.product)
	}
	return nil
}

// mark writes down that the server of program has the directory now.
func mark(ctx context.Context, dir, program string) error {
	now, err := makerOf(ctx, program)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, markerName)
	if err := os.WriteFile(path+".new", []byte(now.String()+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
