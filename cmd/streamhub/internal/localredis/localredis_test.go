package localredis

import (
	"os"
	"path/filepath"
	"testing"
)

// TestForeign takes a directory that is empty or that a server of ours has used.
func TestForeign(t *testing.T) {
	for _, test := range []struct {
		files []string
		want  bool
	}{
		{nil, true},
		{[]string{"lost+found", ".snapshot"}, true},
		{[]string{lockName, logName, "notes.txt"}, true},
		{[]string{filesName, "dump.rdb"}, true},
		{[]string{"notes.txt"}, false},
		{[]string{"dump.rdb"}, false},
		{[]string{logName}, false},
	} {
		dir := t.TempDir()
		for _, name := range test.files {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkOurs(dir); (err == nil) != test.want {
			t.Errorf("%v: %v", test.files, err)
		}
	}
}
