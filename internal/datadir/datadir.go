// Package datadir tells a directory of this project's data from one of others, which was mistyped.
package datadir

import (
	"os"
	"strings"
)

// Foreign returns the name of a file in dir that is not ours, "" if there is none, or if one of ours is there too.
// Hidden files and lost+found do not count: file systems put them there.
func Foreign(dir string, ours func(name string) bool) (foreign string, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		switch name := f.Name(); {
		case ours(name):
			return "", nil
		case name != "lost+found" && !strings.HasPrefix(name, "."):
			foreign = name
		}
	}
	return foreign, nil
}
