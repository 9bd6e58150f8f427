package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

func TestVersion(t *testing.T) {
	setting := func(pairs ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}
		for i := 0; i < len(pairs); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return info
	}
	revision := "3f99adac0123456789"
	for want, info := range map[string]*debug.BuildInfo{
		"devel":                    setting(),
		"devel-3f99adac0123":       setting("vcs.revision", revision, "vcs.modified", "false"),
		"devel-3f99adac0123+dirty": setting("vcs.revision", revision, "vcs.modified", "true"),
		"v0.1.0":                   {Main: debug.Module{Version: "v0.1.0"}},
	} {
		if got := versionOf(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestInvocation names the program as a shell in the same directory finds it.
func TestInvocation(t *testing.T) {
	dir := t.TempDir()
	installed := filepath.Join(dir, "streamhub")
	if err := os.WriteFile(installed, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir("../..")
	none := func(string) (string, error) { return "", exec.ErrNotFound }
	path := func(string) (string, error) { return installed, nil }
	for _, c := range []struct {
		arg0, executable, want string
		look                   func(string) (string, error)
	}{
		{"/tmp/go-build1/b001/exe/streamhub", "/tmp/go-build1/b001/exe/streamhub", "go run ./cmd/streamhub", none},
		{"/home/user/.cache/go-build/2f/2f-d/streamhub", "/home/user/.cache/go-build/2f/2f-d/streamhub", "go run ./cmd/streamhub", path},
		{"streamhub", installed, "streamhub", path},
		{installed, installed, "streamhub", path},
		{"bin/streamhub", "/src/bin/streamhub", "bin/streamhub", path},
		{"./my hub", "/src/my hub", "'./my hub'", none},
		{"it's", "/src/it's", `'/src/it'\''s'`, none},
	} {
		if got := invocation(c.arg0, c.executable, c.look); got != c.want {
			t.Errorf("%s: got %q, want %q", c.arg0, got, c.want)
		}
	}
	t.Chdir(dir)
	if got := invocation("x", "/tmp/go-build1/b001/exe/streamhub", none); got != "go run ." {
		t.Errorf("elsewhere: %q", got)
	}
}

// TestHint pastes what serve prints into a shell.
func TestHint(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh")
	}
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		p := start(t, nil, "serve", "--listen", listen, "--admin-listen", "127.0.0.1:0", "--insecure-no-auth")
		p.line()
		form := regexp.MustCompile(`(?m)^  (echo hello .*)$`)
		until(t, "hint", func() bool { return form.MatchString(p.err.String()) })
		// What lies where go test builds is taken for what go run has built.
		command := strings.Replace(form.FindStringSubmatch(p.err.String())[1], programName(), shellQuote(self(t)), 1)
		shell := exec.CommandContext(within(t), "sh", "-c", command)
		shell.Env = append(os.Environ(), actVariable+"="+actMain)
		if out, err := shell.CombinedOutput(); err != nil || !strings.Contains(string(out), `"first":1`) {
			t.Errorf("%s: %s: %v\n%s", listen, command, err, out)
		}
		p.signal(syscall.SIGTERM)
		if _, code := p.rest(); code != 0 {
			t.Errorf("exit %d\n%s", code, p.err)
		}
	}
}
