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

// TestVuln says that nothing was checked only where the database cannot be reached.
func TestVuln(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("make and sh are not part of Windows")
	}
	for _, test := range []struct {
		name, check, curl, database string
		code                        int
		says                        string
	}{
		{"clean", "exit 0", "exit 6", "", 0, ""},
		{"found", "exit 3", "exit 6", "", 3, "found vulnerabilities"},
		{"no database", "exit 1", "exit 6", "", 0, "NOT CHECKED: the database of vulnerabilities, https://vuln.go.dev, could not be reached"},
		{"another one", "exit 1", "[ $# = 6 ] && [ $6 = https://db.example/index/db.json ] || exit 0; exit 6", "https://db.example", 0, "NOT CHECKED: the database of vulnerabilities, https://db.example,"},
		{"does not load", "exit 2", "exit 0", "", 2, "govulncheck ended with 2, and its database, https://vuln.go.dev, can be reached"},
		{"a file", "exit 1", "exit 6", "file:///db", 1, "govulncheck ended with 1"},
		{"no curl", "exit 1", "", "", 1, "install curl"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"check": test.check, "curl": test.curl} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("/bin/sh", "scripts/vuln", filepath.Join(dir, "check"))
			cmd.Env = []string{"PATH=" + dir}
			if test.database != "" {
				cmd.Env = append(cmd.Env, "GOVULNDB="+test.database)
			}
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.says) || test.says == "" && len(out) > 0 {
				t.Errorf("exit %d, %q: want %d, %q", code, out, test.code, test.says)
			}
			if test.code != 0 && strings.Contains(string(out), "NOT CHECKED") {
				t.Errorf("the database is blamed: %q", out)
			}
		})
	}
}
