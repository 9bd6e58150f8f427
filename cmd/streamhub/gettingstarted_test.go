package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGettingStarted runs every step of docs/getting-started.md, in order and in one shell, and compares what it prints.
// Only the installation is left out, and the ports are free ones.
func TestGettingStarted(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("install %s: %v", program, err)
		}
	}
	text, err := os.ReadFile("../../docs/getting-started.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```(sh|sh install|text)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	const mark = "--- step ---"
	script := "set -eu -o pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n"
	var want []string
	for _, block := range blocks {
		switch kind, body := block[1], block[2]; kind {
		case "sh":
			script += "echo '" + mark + "'\n" + body
			want = append(want, "")
		case "text":
			if want[len(want)-1] != "" {
				t.Fatalf("two outputs of one step: %q", body)
			}
			want[len(want)-1] = body
		}
	}
	if len(want) < 10 {
		t.Fatalf("only %d steps", len(want))
	}

	ports := strings.NewReplacer("127.0.0.1:8080", freeAddress(t), "127.0.0.1:9090", freeAddress(t), "127.0.0.1:8081", freeAddress(t), "127.0.0.1:9091", freeAddress(t))
	bin := t.TempDir()
	if err := os.Symlink(self(t), filepath.Join(bin, "streamhub")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), "bash", "-c", ports.Replace(script))
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + cmd.Dir, actVariable + "=" + actMain,
		"STREAMHUB_LISTEN=" + ports.Replace("127.0.0.1:8080"), "STREAMHUB_ADMIN_LISTEN=" + ports.Replace("127.0.0.1:9090"),
		"STREAMHUB_SERVER=" + ports.Replace("http://127.0.0.1:8080"),
	}
	// One file for both, so that they stay in order; a pipe would be held open by what a failed step leaves behind.
	output, err := os.Create(filepath.Join(cmd.Dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	failed := cmd.Run()
	out, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		logs, _ := os.ReadFile(filepath.Join(cmd.Dir, "serve.log"))
		t.Fatalf("%v\n%s\n%s", failed, out, logs)
	}
	got := strings.Split(string(out), mark+"\n")[1:]
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d\n%s", len(got), len(want), out)
	}
	for i := range want {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(ports.Replace(strings.TrimSpace(want[i]))), "…", "(?s:.*)")
		if !regexp.MustCompile(`^\s*` + pattern + `\s*$`).MatchString(got[i]) {
			t.Errorf("step %d prints\n%s\nwant\n%s", i+1, got[i], want[i])
		}
	}
}

// freeAddress returns an address of the loopback that nothing listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
