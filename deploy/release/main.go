// Command release builds what a release consists of, the same bytes from the same commit:
//
//	go run . -out ../../dist
//
// For each target it writes an archive with the binary, its licence and those of what it links, and a bill of
// materials in CycloneDX; for Linux Debian and RPM packages too; and the checksums of all. Version and commit are
// those of the build information: what is built is a clone of the commit that is checked out, never a changed file
// of the work tree.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

var allTargets = []target{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

// sumsName is the file with the checksums of all others.
const sumsName = "SHA256SUMS"

// A target is a system and an architecture as Go names them.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// settings are the variables of the go command that change what it builds. They are set for every
// build, so that the environment of the caller changes no byte.
func (t target) settings() []string {
	return []string{"GOOS=" + t.os, "GOARCH=" + t.arch, "CGO_ENABLED=0",
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0"}
}

func (t target) environment() []string { return append(os.Environ(), t.settings()...) }

// program is the file name of the binary.
func (t target) program() string {
	if t.os == "windows" {
		return "streamhub.exe"
	}
	return "streamhub"
}

// A release is one run.
type release struct {
	root  string // of the clone that is built
	out   string
	mtime time.Time // of every file in every archive: that of the commit
	say   io.Writer
}

func main() {
	out := flag.String("out", "dist", "directory for the files; it is emptied first")
	root := flag.String("root", "../..", "work tree to build")
	targets := flag.String("targets", "", "comma-separated list of OS/ARCH; all if empty")
	notices := flag.String("notices", "", "file for the licences of what a binary for this machine links; nothing else is built")
	flag.Parse()
	var err error
	if *notices != "" {
		err = writeNotices(*root, *notices)
	} else {
		err = run(*root, *out, *targets)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// writeNotices is for the image, which is built from a tree without its history.
func writeNotices(root, file string) error {
	r := &release{root: root, say: os.Stderr}
	linked, err := r.linked(target{runtime.GOOS, runtime.GOARCH})
	if err != nil {
		return err
	}
	text, err := notices(linked)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func run(root, out, targets string) error {
	chosen, err := parseTargets(targets)
	if err != nil {
		return err
	}
	r := &release{say: os.Stderr}
	if r.out, err = filepath.Abs(out); err != nil {
		return err
	}
	return r.run(root, chosen)
}

// parseTargets reads a list such as linux/amd64,darwin/arm64.
func parseTargets(text string) ([]target, error) {
	if text == "" {
		return allTargets, nil
	}
	var chosen []target
	for word := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc(allTargets, func(t target) bool { return t.String() == word })
		if i < 0 {
			return nil, fmt.Errorf("%q is none of %v", word, allTargets)
		}
		chosen = append(chosen, allTargets[i])
	}
	return chosen, nil
}

// run builds every target in a temporary directory. The checksums come last: a directory with them is
// complete.
func (r *release) run(tree string, targets []target) (err error) {
	if err := empty(r.out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "streamhub-release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := r.clone(tree, filepath.Join(work, "source")); err != nil {
		return err
	}
	if r.mtime, err = r.commitTime(); err != nil {
		return err
	}
	for _, t := range targets {
		if err := r.build(t, work); err != nil {
			return fmt.Errorf("%v: %w", t, err)
		}
	}
	return r.sums()
}

// clone makes the source: the commit that is checked out in tree, with its tags.
func (r *release) clone(tree, dir string) error {
	commit, err := git(tree, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if changed, err := git(tree, "status", "--porcelain"); err != nil {
		return err
	} else if changed != "" {
		fmt.Fprintln(r.say, "release: what is not committed is not part of the release")
	}
	if _, err := git(tree, "clone", "--quiet", "--no-checkout", ".", dir); err != nil {
		return err
	}
	r.root = dir
	_, err = git(dir, "checkout", "--quiet", "--detach", commit)
	return err
}

// git returns what a git command prints, without the last line break.
func git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// commitTime is when the commit was made, or what SOURCE_DATE_EPOCH says.
func (r *release) commitTime() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		var err error
		if text, err = git(r.root, "log", "-1", "--format=%ct"); err != nil {
			return time.Time{}, err
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

// empty makes an empty directory. One that holds something else than a release is left alone.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name != sumsName && !strings.HasPrefix(name, "streamhub") {
			return fmt.Errorf("%s holds %s, which is not part of a release: choose another directory", dir, name)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// build writes everything for one target.
func (r *release) build(t target, work string) error {
	dir := filepath.Join(work, t.os+"-"+t.arch)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	binary := filepath.Join(dir, t.program())
	fmt.Fprintln(r.say, "release: building", t)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid=", "-o", binary, "./cmd/streamhub")
	cmd.Dir, cmd.Env, cmd.Stderr = r.root, t.environment(), r.say
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	version, err := r.version(binary)
	if err != nil {
		return err
	}
	linked, err := r.linked(t)
	if err != nil {
		return err
	}
	notices, err := notices(linked)
	if err != nil {
		return err
	}
	p := &parts{target: t, version: version, binary: binary, notices: filepath.Join(dir, "THIRD-PARTY-NOTICES")}
	if err := os.WriteFile(p.notices, notices, 0o644); err != nil {
		return err
	}
	if err := r.archive(p); err != nil {
		return err
	}
	if err := r.bill(p); err != nil {
		return err
	}
	if t.os == "linux" {
		return r.packages(p)
	}
	return nil
}

// version is what the binary says of itself, without the v of a tag. It refuses a binary that was not
// built as a release is.
func (r *release) version(binary string) (string, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "", err
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["vcs.revision"] == "" {
		return "", errors.New("the build information names no commit")
	}
	if settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" {
		return "", fmt.Errorf("not a release build: %v", settings)
	}
	if settings["vcs.modified"] == "true" {
		return "", errors.New("the build changed the clone")
	}
	return strings.TrimPrefix(info.Main.Version, "v"), nil
}

// sums writes the checksums of all files in the form of sha256sum.
func (r *release) sums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(r.out, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), entry.Name())
	}
	return os.WriteFile(filepath.Join(r.out, sumsName), []byte(b.String()), 0o644)
}
