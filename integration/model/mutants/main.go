// Command mutants breaks the code on purpose, one patch of this folder at a time, and demands that
// the programs of package model notice. A patch is applied to a copy of the files that it names, which
// go test then takes for the real ones: nothing in the tree changes. A patch that no longer applies is
// an error.
//
// Lines before the diff may name the way on which the programs run, "way: one gateway", or tests that have
// to notice where programs do not reach, "test: ./durable ^TestLoss". The line "seed: 12" names the seed
// that noticed last. It is tried first; with -update the lines are written.
//
// What was caught is remembered, with a digest of the code, and is not run again while that is the same.
// So a run that was cut short by -for goes on where it ended.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	folder = "integration/model/mutants"
	known  = ".bin/mutants" // what was caught, a file for each patch
)

func main() {
	var o options
	flag.IntVar(&o.seeds, "seeds", 400, "programs that each mutant is given")
	flag.StringVar(&o.only, "only", "", "run the mutants whose name contains this")
	flag.BoolVar(&o.update, "update", false, "write the seed that noticed into the patch")
	flag.DurationVar(&o.limit, "for", 0, "begin no mutant after this long; 0 runs all")
	flag.BoolVar(&o.again, "again", false, "run what was caught on the same code, too")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	seeds         int
	only          string
	update, again bool
	limit         time.Duration
}

func run(o options) error {
	patches, err := filepath.Glob(filepath.Join(folder, "*.patch"))
	if err != nil {
		return err
	}
	if len(patches) == 0 {
		return fmt.Errorf("no patches in %s: run this in the root of the module", folder)
	}
	code, err := digest()
	if err != nil {
		return err
	}
	var errs []error
	ran, left := 0, 0
	begin := time.Now()
	for _, patch := range patches {
		m := mutant{patch: patch, name: strings.TrimSuffix(filepath.Base(patch), ".patch")}
		if !strings.Contains(m.name, o.only) {
			continue
		}
		if o.limit > 0 && time.Since(begin) > o.limit {
			left++
			continue
		}
		start := time.Now()
		said, err := m.run(code, o)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			said = "NOT CAUGHT: " + err.Error()
		}
		ran++
		fmt.Fprintf(os.Stdout, "%-32s %5.1fs  %.160s\n", m.name, time.Since(start).Seconds(), said)
	}
	fmt.Fprintf(os.Stdout, "%d of %d mutants caught, %d not run\n", ran-len(errs), ran, left)
	return errors.Join(errs...)
}

// digest is of the code of the module: a mutant that was caught stays caught while it is the same.
func digest() (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".lua") && filepath.Base(path) != "go.mod":
			return nil
		}
		b, err := os.ReadFile(path)
		fmt.Fprintln(h, path, len(b))
		h.Write(b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

var (
	target = regexp.MustCompile(`(?m)^--- a/(\S+)`)
	onWay  = regexp.MustCompile(`(?m)^way: (.+)$`)
	onSeed = regexp.MustCompile(`(?m)^seed: (\d+)\n`)
	byTest = regexp.MustCompile(`(?m)^test: (\S+) (\S+)$`)
	caught = regexp.MustCompile(`caught by seed (\d+).*`)
	failed = regexp.MustCompile(`--- FAIL: .*`)
)

// A mutant is the code with a patch.
type mutant struct {
	name, patch string
	text        []byte
	overlay     string // the file that go test is given
}

// run returns what caught the mutant.
func (m *mutant) run(code string, o options) (said string, err error) {
	if m.text, err = os.ReadFile(m.patch); err != nil {
		return "", err
	}
	key := fmt.Sprintf("%s %x\n", code, sha256.Sum256(onSeed.ReplaceAll(m.text, nil)))
	note := filepath.Join(known, m.name)
	if was, err := os.ReadFile(note); err == nil && !o.again {
		if said, ok := strings.CutPrefix(string(was), key); ok {
			return said + " (remembered)", nil
		}
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if m.overlay, err = apply(m.patch, m.text, dir); err != nil {
		return "", err
	}
	if said, err = m.search(o); err != nil {
		return "", err
	}
	if err := os.MkdirAll(known, 0o755); err != nil {
		return "", err
	}
	return said, os.WriteFile(note, []byte(key+said), 0o600)
}

// search tries the test of the patch, or its seed and then the others.
func (m *mutant) search(o options) (string, error) {
	if found := byTest.FindSubmatch(m.text); found != nil {
		pkg, tests := string(found[1]), string(found[2])
		out, err := m.test(pkg, tests)
		if said := failed.Find(out); said != nil {
			return string(said), nil
		}
		return "", errors.Join(fmt.Errorf("%s found nothing", tests), err)
	}
	if found := onSeed.FindSubmatch(m.text); found != nil {
		seed, err := strconv.Atoi(string(found[1]))
		if err != nil {
			return "", err
		}
		if said, err := m.seeds(seed, 1); err != nil || said != "" {
			return said, err
		}
	}
	said, err := m.seeds(1, o.seeds)
	if err != nil {
		return "", err
	}
	if said == "" {
		return "", fmt.Errorf("%d seeds found nothing", o.seeds)
	}
	if o.update {
		line := "seed: " + string(caught.FindSubmatch([]byte(said))[1]) + "\n"
		return said, os.WriteFile(m.patch, append([]byte(line), onSeed.ReplaceAll(m.text, nil)...), 0o600)
	}
	return said, nil
}

// seeds runs the programs of so many seeds and returns what the first one that noticed said, "" if
// none did.
func (m *mutant) seeds(first, n int) (string, error) {
	way := "in process"
	if found := onWay.FindSubmatch(m.text); found != nil {
		way = string(found[1])
	}
	out, err := m.test("./integration/model", "^TestSimulate$", fmt.Sprint("SEED=", first), fmt.Sprint("SEEDS=", n), "KEEP_GOING=first", "WAY="+way)
	if found := caught.Find(out); found != nil {
		return string(found), nil
	}
	return "", err
}

// test runs tests on the mutant. A test that fails is an error, too.
func (m *mutant) test(pkg, tests string, env ...string) ([]byte, error) {
	cmd := exec.Command("go", "test", "-overlay", m.overlay, "-count=1", "-vet=off", "-timeout=10m", "-run="+tests, pkg)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %.2000s", err, out)
	}
	return out, err
}

// apply makes patched copies in dir and returns the name of the overlay.
func apply(patch string, text []byte, dir string) (string, error) {
	patch, err := filepath.Abs(patch)
	if err != nil {
		return "", err
	}
	overlay := map[string]map[string]string{"Replace": {}}
	for _, found := range target.FindAllSubmatch(text, -1) {
		name := string(found[1])
		code, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		real, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		changed := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(changed), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(changed, code, 0o600); err != nil {
			return "", err
		}
		overlay["Replace"][real] = changed
	}
	cmd := exec.Command("git", "apply", patch)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the patch does not apply: %w: %s", err, out)
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, b, 0o600)
}
