package streamhub_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestRaceDetector is on where there is a C compiler, and off with a line that says so where there is none.
func TestRaceDetector(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("make and sh are not part of Windows")
	}
	dir := t.TempDir()
	program := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	program("go", "echo a-c-compiler --option")
	race := func() (out, err string) {
		t.Helper()
		cmd := exec.Command("/bin/sh", "scripts/race")
		cmd.Env = []string{"PATH=" + dir}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, failed := cmd.Output()
		if failed != nil {
			t.Fatalf("%v\n%s", failed, &stderr)
		}
		return string(stdout), stderr.String()
	}
	if out, err := race(); out != "" || !strings.Contains(err, "race detector is off") || !strings.Contains(err, "a-c-compiler is not on PATH") {
		t.Errorf("without a compiler: %q, %q", out, err)
	}
	program("a-c-compiler", "")
	if out, err := race(); out != "-race\n" || err != "" {
		t.Errorf("with a compiler: %q, %q", out, err)
	}
}
