package pebble

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/datadir"
)

// privateFS is the file system of the operating system. Only the owner may read the files that it makes, even in a
// directory with a wider mode. It has no effect on file systems without modes.
type privateFS struct{ vfs.FS }

// Create implements vfs.FS.
func (p privateFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, category)
	if err == nil {
		_ = os.Chmod(name, 0o600)
	}
	return f, err
}

// OpenReadWrite implements vfs.FS.
func (p privateFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, category, opts...)
	if err == nil {
		_ = os.Chmod(name, 0o600)
	}
	return f, err
}

// Unwrap implements vfs.FS.
func (p privateFS) Unwrap() vfs.FS { return p.FS }

// ours matches the names that Pebble gives its files.
var ours = regexp.MustCompile(`^(CURRENT|LOCK|MANIFEST-\d+|OPTIONS-\d+|marker\..*|\d+(-\d+)?\.(sst|blob|log))$`)

// makePrivate sets the mode of existing files, for an archive that was made with another mode.
func makePrivate(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Type().IsRegular() && ours.MatchString(f.Name()) {
			_ = os.Chmod(filepath.Join(dir, f.Name()), 0o600)
		}
	}
	return nil
}

// checkOurs refuses a directory that has other files and no archive: its name is probably mistyped, and the files of an
// archive would mix with the others.
func checkOurs(dir string) error {
	foreign, err := datadir.Foreign(dir, ours.MatchString)
	if err != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrUnavailable, err)
	}
	if foreign != "" {
		return fmt.Errorf("%w: %s holds no archive but other files, %s among them: name a new or an empty directory",
			streamhub.ErrInvalidArgument, dir, foreign)
	}
	return nil
}
