package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSameBytes makes a release twice, from two directories, and compares every byte.
func TestSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the binary")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	commit, err := git("../..", "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	var releases [2]map[string][]byte
	for i := range releases {
		tree := filepath.Join(t.TempDir(), strings.Repeat("deeper/", i), "tree")
		if _, err := git("../..", "clone", "--quiet", ".", tree); err != nil {
			t.Fatal(err)
		}
		if i == 1 { // what lies around is not part of a release
			if err := os.WriteFile(filepath.Join(tree, "cmd/streamhub/stray.go"), []byte("package main\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(t.TempDir(), "dist")
		if err := run(tree, out, "linux/amd64"); err != nil {
			t.Fatal(err)
		}
		releases[i] = contents(t, out)
	}
	first, second := releases[0], releases[1]
	if names := slices.Sorted(maps.Keys(first)); len(names) != 5 || !slices.Equal(names, slices.Sorted(maps.Keys(second))) {
		t.Fatalf("%q, %q", names, slices.Sorted(maps.Keys(second)))
	}
	for name, data := range first {
		if !bytes.Equal(data, second[name]) {
			t.Errorf("%s differs", name)
		}
	}
	if out, err := exec.Command("go", "env", "GOOS", "GOARCH").Output(); err != nil || string(out) != "linux\namd64\n" {
		return
	}
	check(t, first, commit)
}

// check looks into what a release for linux/amd64 holds.
func check(t *testing.T, release map[string][]byte, commit string) {
	t.Helper()
	of := func(suffix string) []byte {
		t.Helper()
		for name, data := range release {
			if strings.HasSuffix(name, suffix) {
				return data
			}
		}
		t.Fatalf("no %s", suffix)
		return nil
	}
	files := untar(t, of(".tar.gz"))
	program := files["streamhub"]
	binary, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is not static")
		}
	}
	if binary.Section(".symtab") != nil || binary.Section(".debug_info") != nil {
		t.Error("the binary is not stripped")
	}
	path := filepath.Join(t.TempDir(), "streamhub")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "version").Output()
	if err != nil || !strings.Contains(string(out), commit[:12]) && !regexp.MustCompile(`v\d+\.\d+\.\d+\n`).Match(out) {
		t.Errorf("version: %q, %v; want a tag or %s", out, err, commit[:12])
	}
	for _, name := range []string{"Go go1.", "github.com/cockroachdb/pebble/v2 v", "github.com/redis/go-redis/v9 v"} {
		if !bytes.Contains(files["THIRD-PARTY-NOTICES"], []byte(name)) {
			t.Errorf("no notice of %s", name)
		}
	}
	if !bytes.Contains(files["LICENSE"], []byte("Apache License")) {
		t.Error("no licence")
	}

	var bill struct {
		BomFormat    string
		SerialNumber string
		Metadata     struct{ Timestamp string }
		Components   []struct{ Name, Version string }
	}
	if err := json.Unmarshal(of(".cdx.json"), &bill); err != nil || bill.BomFormat != "CycloneDX" || bill.SerialNumber != "" || bill.Metadata.Timestamp != "" {
		t.Errorf("%v, %+v", err, bill)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(bill.Components, func(c struct{ Name, Version string }) bool { return c.Name == name && c.Version != "" })
	}
	if !has("std") || !has("github.com/redis/go-redis/v9") || has("github.com/DataDog/zstd") {
		t.Errorf("components: %v", bill.Components)
	}

	if magic := of(".rpm")[:4]; !bytes.Equal(magic, []byte{0xed, 0xab, 0xee, 0xdb}) {
		t.Errorf("not an RPM package: %x", magic)
	}
	checkDebian(t, of(".deb"))

	sums := exec.Command("sha256sum", "--check", "--strict", sumsName)
	sums.Dir = t.TempDir()
	for name, data := range release {
		if err := os.WriteFile(filepath.Join(sums.Dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := sums.CombinedOutput(); err != nil || strings.Count(string(out), "OK") != len(release)-1 {
		t.Errorf("%v\n%s", err, out)
	}
}

func checkDebian(t *testing.T, data []byte) {
	t.Helper()
	program, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Log("the Debian package is not looked into: no dpkg-deb on PATH")
		return
	}
	path := filepath.Join(t.TempDir(), "streamhub.deb")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := exec.Command(program, "--contents", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	for _, want := range []string{
		`-rwxr-xr-x root/root .* \./usr/bin/streamhub\n`,
		`-rw-r--r-- root/root .* \./usr/lib/systemd/system/streamhub\.service\n`,
		`-rw-r--r-- root/root .* \./etc/streamhub/streamhub\.yaml\n`,
		`-rw------- root/root .* \./etc/streamhub/environment\n`,
		`-rw-r--r-- root/root .* \./usr/share/bash-completion/completions/streamhub\n`,
		`-rw-r--r-- root/root .* \./usr/share/fish/vendor_completions\.d/streamhub\.fish\n`,
		`\./usr/share/doc/streamhub/copyright\n`,
		`\./usr/share/doc/streamhub/THIRD-PARTY-NOTICES\n`,
	} {
		if !regexp.MustCompile(want).Match(list) {
			t.Errorf("no %s in\n%s", want, list)
		}
	}
	control := t.TempDir()
	if out, err := exec.Command(program, "--control", path, control).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if conf, err := os.ReadFile(filepath.Join(control, "conffiles")); err != nil || string(conf) != "/etc/streamhub/environment\n/etc/streamhub/streamhub.yaml\n" {
		t.Errorf("conffiles: %q, %v", conf, err)
	}
}

// TestArchives packs a stand-in for each target: no time, owner or order comes from the machine.
func TestArchives(t *testing.T) {
	for _, target := range allTargets {
		var packed [2][]byte
		for i := range packed {
			dir := t.TempDir()
			p := &parts{target: target, version: "1.2.3", binary: filepath.Join(dir, "program"), notices: filepath.Join(dir, "notices")}
			for _, path := range []string{p.binary, p.notices, filepath.Join(dir, "LICENSE"), filepath.Join(dir, "README.md")} {
				if err := os.WriteFile(path, []byte("text of "+filepath.Base(path)), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, time.Time{}, time.Unix(int64(1e9+i), 0)); err != nil {
					t.Fatal(err)
				}
			}
			r := &release{root: dir, out: t.TempDir(), mtime: time.Unix(1.7e9, 0).UTC()}
			if err := r.archive(p); err != nil {
				t.Fatal(err)
			}
			for _, data := range contents(t, r.out) {
				packed[i] = data
			}
		}
		if !bytes.Equal(packed[0], packed[1]) {
			t.Errorf("%v: two archives differ", target)
		}
		files := map[string][]byte{}
		if target.os == "windows" {
			files = unzip(t, packed[0])
		} else {
			files = untar(t, packed[0])
		}
		if names := slices.Sorted(maps.Keys(files)); !slices.Equal(names, []string{"LICENSE", "README.md", "THIRD-PARTY-NOTICES", target.program()}) ||
			string(files[target.program()]) != "text of program" {
			t.Errorf("%v: %q", target, files)
		}
	}
}

// TestEmpty does not remove what is not a release.
func TestEmpty(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{sumsName, "streamhub_1.2.3_linux_amd64.deb"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(dir); err != nil || len(contents(t, dir)) != 0 {
		t.Fatalf("%v, %v", err, contents(t, dir))
	}
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := empty(dir); err == nil || !strings.Contains(err.Error(), "thesis.tex") || len(contents(t, dir)) != 1 {
		t.Errorf("%v", err)
	}
}

// TestImageNotices writes what the image carries, and finds it in the Dockerfile.
func TestImageNotices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "THIRD-PARTY-NOTICES")
	if err := writeNotices("../..", path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Go go1.", "github.com/cockroachdb/pebble/v2 v", "github.com/redis/go-redis/v9 v"} {
		if !bytes.Contains(text, []byte(name)) {
			t.Errorf("no notice of %s", name)
		}
	}
	for file, want := range map[string][]string{
		"Dockerfile":    {"go run . -root ../.. -notices /THIRD-PARTY-NOTICES\n", "COPY --from=build /src/LICENSE /THIRD-PARTY-NOTICES /usr/share/doc/streamhub/\n"},
		".dockerignore": {"\n!deploy/release\n"},
	} {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(string(text), line) {
				t.Errorf("%s has no %q", file, line)
			}
		}
	}
}

// TestNotices refuses a module without a licence, and takes the licences of linked packages inside a module.
func TestNotices(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("text of "+name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("a/LICENSE")
	write("a/internal/borrowed/COPYING.md")
	write("a/internal/other/LICENSE")
	write("a/internal/borrowed/license.go")
	write("b/code.go")
	a := module{path: "example.com/a", version: "v1.0.0", dir: filepath.Join(dir, "a"), packages: []string{filepath.Join(dir, "a/internal/borrowed")}}
	b := module{path: "example.com/b", version: "v1.0.0", dir: filepath.Join(dir, "b"), packages: []string{filepath.Join(dir, "b")}}
	text, err := notices([]module{a})
	if err != nil || strings.Count(string(text), "text of") != 2 || !strings.Contains(string(text), "example.com/a v1.0.0: internal/borrowed/COPYING.md") {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := notices([]module{a, b}); err == nil || !strings.Contains(err.Error(), "example.com/b v1.0.0 has no licence file") {
		t.Errorf("%v", err)
	}
}

// TestUnit holds the service to what it may reach.
func TestUnit(t *testing.T) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze: install systemd")
	}
	out, err := exec.Command(program, "security", "--offline=true", "--no-pager", "../package/streamhub.service").CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for streamhub\.service: (\d+\.\d+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > 1.5 {
		t.Errorf("exposure level %s, want 1.5 at most\n%s", m[1], out)
	}
}

// TestConfiguration checks the configuration of the package with the program itself.
func TestConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the binary")
	}
	path, err := filepath.Abs("../package/streamhub.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "./cmd/streamhub", "config", "check", "--config", path)
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok ") {
		t.Errorf("%v\n%s", err, out)
	}
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// untar returns the files of an archive by their names without the directory.
func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[filepath.Base(header.Name)], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func unzip(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[filepath.Base(f.Name)], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
	}
	return files
}
