package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A module is one whose code is in a binary.
type module struct {
	path, version string
	dir           string
	packages      []string // directories of its packages that are linked
}

// linked returns the modules that a binary for t links, in order of their paths; the first one is Go itself.
func (r *release) linked(t target) ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Standard,Module", "./cmd/streamhub")
	cmd.Dir, cmd.Env, cmd.Stderr = r.root, t.environment(), r.say
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	modules := map[string]*module{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir      string
			Standard bool
			Module   *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := decoder.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		m := modules[p.Module.Path]
		if m == nil {
			m = &module{path: p.Module.Path, version: p.Module.Version, dir: p.Module.Dir}
			modules[m.path] = m
		}
		m.packages = append(m.packages, p.Dir)
	}
	env := exec.Command("go", "env", "GOROOT", "GOVERSION")
	env.Dir = r.root
	if out, err = env.Output(); err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	sorted := []module{{path: "Go", version: version, dir: goroot, packages: []string{goroot}}}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		sorted = append(sorted, *modules[path])
	}
	return sorted, nil
}

// licenceName matches the names of files that hold licences, in both spellings, with any extension.
var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|copyright)([.-].*)?$`)

// licences returns the licence files of a module: those beside its linked packages and above them.
func (m module) licences() ([]string, error) {
	seen := map[string]bool{}
	var files []string
	for _, dir := range m.packages {
		for ; !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			entries, err := os.ReadDir(dir)
			if err != nil {
				return nil, err
			}
			for _, entry := range entries {
				if entry.Type().IsRegular() && licenceName.MatchString(entry.Name()) && filepath.Ext(entry.Name()) != ".go" {
					files = append(files, filepath.Join(dir, entry.Name()))
				}
			}
			if dir == m.dir {
				break
			}
		}
	}
	slices.Sort(files)
	return files, nil
}

// notices is the text of all licences. A module without one is an error: it must not be shipped.
func notices(modules []module) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("streamhub links the following, under the licences below.\n")
	var missing []error
	for _, m := range modules {
		files, err := m.licences()
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			missing = append(missing, fmt.Errorf("%s %s has no licence file", m.path, m.version))
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(m.dir, file)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "\n%[1]s\n%[2]s %[3]s: %[4]s\n%[1]s\n\n%[5]s\n", strings.Repeat("=", 80), m.path, m.version, filepath.ToSlash(name),
				strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")))
		}
	}
	return b.Bytes(), errors.Join(missing...)
}
