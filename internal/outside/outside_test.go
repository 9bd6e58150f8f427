package outside

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// noPrograms are packages that are no library: programs, and the test kits of this repository.
var noPrograms = regexp.MustCompile(`/(internal|cmd|integration|examples|archivetest|providertest|streamkittest)(/|$)`)

// TestEveryPackage fails for a public package that no program uses.
func TestEveryPackage(t *testing.T) {
	list := func(dir, format string) []string {
		command := exec.CommandContext(t.Context(), "go", "list", "-f", format, "./...")
		command.Dir = dir
		out, err := command.Output()
		if err != nil {
			t.Fatalf("go list in %s: %v", dir, err)
		}
		return strings.Fields(string(out))
	}
	used := list(".", `{{join .Imports "\n"}}`)
	public := list("../..", "{{.ImportPath}}")
	if len(public) < 10 {
		t.Fatalf("go list found only %v", public)
	}
	for _, pkg := range public {
		if !noPrograms.MatchString(pkg) && !slices.Contains(used, pkg) {
			t.Errorf("no program uses %s: write one, as a user would", pkg)
		}
	}
}

// TestPrograms builds every program and runs it. Each ends by itself and prints "ok" as its last line.
func TestPrograms(t *testing.T) {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./...")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	programs, err := filepath.Glob("*/main.go")
	if err != nil || len(programs) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	for _, program := range programs {
		name := filepath.Base(filepath.Dir(program))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			run := exec.CommandContext(ctx, filepath.Join(bin, name))
			run.Dir = t.TempDir()
			run.Env = append(os.Environ(), "TMPDIR="+run.Dir)
			out, err := run.CombinedOutput()
			if err != nil || !strings.HasSuffix(string(bytes.TrimSpace(out)), "ok") {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
