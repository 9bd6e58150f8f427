package main

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestDocuments runs the blocks of shell of every document, in order and in one shell for each document, and compares
// what a block prints with the text that follows it at once, none if none does; "…" stands for anything. Ports are free ones, and the
// Redis of the documents is a real one. Where a document starts no gateway, one runs already.
func TestDocuments(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("install %s: %v", program, err)
		}
	}
	tree, ran := os.DirFS("../.."), 0
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() != "." && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if steps := documentSteps(string(text)); len(steps) > 0 {
			ran++
			t.Run(name, func(t *testing.T) { runSteps(t, steps) })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if ran < 6 {
		t.Errorf("only %d documents have blocks of shell", ran)
	}
}

// A documentStep is a block of shell, and what it prints.
type documentStep struct {
	script, output string
}

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$(?:\n```text\n(.*?)^```$)?")

func documentSteps(document string) (steps []documentStep) {
	for _, block := range shellBlock.FindAllStringSubmatch(document, -1) {
		steps = append(steps, documentStep{block[1], block[2]})
	}
	return steps
}

const (
	stepMark = "--- step ---"
	// A script runs its next command sooner than a reader types it.
	untilReady = "until curl --silent --fail --output /dev/null http://127.0.0.1:8080/readyz; do kill -0 $!; sleep 0.1; done\n"
)

var startsGateway = regexp.MustCompile(`(?m)^streamhub serve (?:.*\\\n)*.*&$`)

func runSteps(t *testing.T, steps []documentStep) {
	script := "set -eu -o pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n"
	var all strings.Builder
	for _, s := range steps {
		all.WriteString("echo '" + stepMark + "'\n" + s.script)
	}
	if !startsGateway.MatchString(all.String()) {
		script += "streamhub serve > serve.log 2>&1 &\n"
	}
	script = startsGateway.ReplaceAllString(script+all.String(), "$0\n"+untilReady)

	addresses := []string{}
	for _, port := range []string{"8080", "9090", "8081", "9091"} {
		addresses = append(addresses, "127.0.0.1:"+port, freeAddress(t))
	}
	if strings.Contains(script, "127.0.0.1:6379") {
		addresses = append(addresses, "redis://127.0.0.1:6379", testredis.Start(t, nil).URL())
	}
	here := strings.NewReplacer(addresses...)

	bin := t.TempDir()
	if err := os.Symlink(self(t), filepath.Join(bin, "streamhub")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), "bash", "-c", here.Replace(script))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that its trap ends what it started
	cmd.WaitDelay = patience
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + cmd.Dir, actVariable + "=" + actMain,
		"STREAMHUB_LISTEN=" + here.Replace("127.0.0.1:8080"), "STREAMHUB_ADMIN_LISTEN=" + here.Replace("127.0.0.1:9090"),
		"STREAMHUB_SERVER=" + here.Replace("http://127.0.0.1:8080"), "GORACE=" + os.Getenv("GORACE"),
	}
	// One file for both, so that they stay in order; a pipe would be held open by what a failed step leaves.
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
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
	printed := strings.Split(string(out), stepMark+"\n")[1:]
	if len(printed) != len(steps) {
		t.Fatalf("%d steps, want %d\n%s", len(printed), len(steps), out)
	}
	for i, s := range steps {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(here.Replace(strings.TrimSpace(s.output))), "…", "(?s:.*)")
		if !regexp.MustCompile(`^\s*` + pattern + `\s*$`).MatchString(printed[i]) {
			t.Errorf("step %d prints\n%s\nwant\n%s", i+1, printed[i], s.output)
		}
	}
}

// TestInstall runs the commands of README.md and docs/getting-started.md that install the program.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("links the program")
	}
	for _, document := range []string{"README.md", "docs/getting-started.md"} {
		text, err := os.ReadFile(filepath.Join("../..", document))
		if err != nil {
			t.Fatal(err)
		}
		block := regexp.MustCompile("(?s)```sh cmd/streamhub/documents_test.go\n(.*?)```").FindSubmatch(text)
		if block == nil {
			t.Fatalf("%s does not say how to install", document)
		}
		bin := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", string(block[1])+"\nstreamhub version")
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "GOBIN="+bin, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "streamhub ") {
			t.Errorf("%s: %v: %s", document, err, out)
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
