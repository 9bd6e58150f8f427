package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestAnyBytes has names that are not UTF-8 stay apart, and the command of a lease get what was given.
func TestAnyBytes(t *testing.T) {
	server := testredis.Start(t, nil)
	file := filepath.Join(t.TempDir(), "file-\xfe")
	if err := os.WriteFile(file, []byte("from the file\n"), 0o600); err != nil {
		t.Skipf("no file can have that name on %s: %v", runtime.GOOS, err)
	}
	for _, name := range []string{"s/\xfd", "s/\xfc", "t\xfd/g", "t\xfc/g"} {
		if r := good(t, strings.NewReader("of "+name+"\n"), "append", name, "--redis", server.URL()); !strings.Contains(r.out, `"last":1,`) {
			t.Errorf("append %q: %s", name, r.out)
		}
		if r := good(t, nil, "read", name, "--redis", server.URL()); r.out != "of "+name+"\n" {
			t.Errorf("read %q: %q", name, r.out)
		}
	}
	if r := good(t, nil, "ls", "s", "--redis", server.URL()); r.out != `"\xfc"`+"\n"+`"\xfd"`+"\n" {
		t.Errorf("ls: %s", r.out)
	}
	good(t, nil, "append", "s/file", "--file", file, "--redis", server.URL())
	if r := good(t, nil, "lease", "k\xfd", "--redis", server.URL(), "--", "printf", "%s", "\xfe,\xff"); r.out != "\xfe,\xff" {
		t.Errorf("the command got %q", r.out)
	}
	good(t, strings.NewReader("chunk\n"), "live", "publish", "id-\xfd", "--redis", server.URL())
	if r := call(t, nil, "live", "status", "id-\xfc", "--redis", server.URL()); r.code != exitFailed {
		t.Errorf("another live stream was found: %+v", r)
	}
}
