package streamhub_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAPICheck has a change that breaks programs refused until CHANGELOG.md names it. make api-check runs it, because it
// needs apidiff.
func TestAPICheck(t *testing.T) {
	apidiff := os.Getenv("APIDIFF")
	if apidiff == "" {
		t.Skip("APIDIFF does not name the program; make api-check does")
	}
	script, err := filepath.Abs("scripts/api-check")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(program string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "APIDIFF="+apidiff, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	good := func(program string, args ...string) {
		t.Helper()
		if out, err := run(program, args...); err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
	}
	const begin = "# Changelog\n\n## [Unreleased]\n"
	write("go.mod", "module example.com/words\n\ngo 1.26\n")
	write("words.go", "package words\n\ntype T struct{}\n\nfunc (*T) Do(int) {}\n\nfunc F() {}\n")
	write("sub/sub.go", "package sub\n\nfunc G() {}\n")
	write("CHANGELOG.md", begin)
	good("git", "init", "--quiet")
	good("git", "add", ".")
	good("git", "commit", "--quiet", "-m", "begin")
	if out, err := run(script); err != nil || !strings.Contains(out, "no release") {
		t.Errorf("without a tag: %v\n%s", err, out)
	}
	good("git", "tag", "v0.1.0")
	write("words.go", "package words\n\ntype T struct{}\n\nfunc (*T) Do(string) {}\n\nfunc F() {}\n\nfunc New() {}\n")
	write("sub/sub.go", "package sub\n")

	write("CHANGELOG.md", begin+"\n## [0.1.0]\n\n- `words.T.Do`, `sub.G`\n") // of another release
	out, err := run(script)
	if err == nil || !strings.Contains(out, "`words.T.Do`") || !strings.Contains(out, "`sub.G`") || strings.Contains(out, "New") || strings.Contains(out, "words.F") {
		t.Errorf("two changes that break programs: %v\n%s", err, out)
	}
	write("CHANGELOG.md", begin+"- `words.T.Do` takes a text.\n")
	if out, err := run(script); err == nil || strings.Contains(out, "`words.T.Do`") || !strings.Contains(out, "`sub.G`") {
		t.Errorf("one of them named: %v\n%s", err, out)
	}
	write("CHANGELOG.md", begin+"- `words.T.Do` takes a text.\n- `sub.G` is gone: call nothing.\n")
	if out, err := run(script); err != nil || !strings.Contains(out, "2 changes since v0.1.0") {
		t.Errorf("both named: %v\n%s", err, out)
	}
}
