// Command mutants breaks the code on purpose, one patch of this folder at a time, and demands that
// the programs of package model notice. A patch is applied to a copy of the files that it names, which
// go test then takes for the real ones: nothing in the tree changes. A patch that no longer applies is
// an error.
//
// Lines before the diff may name the way on which the programs run, "way: one gateway", or tests that have
// to notice where programs do not reach, "test: ./durable ^TestLoss".
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const folder = "integration/model/mutants"

func main() {
	seeds := flag.Int("seeds", 400, "programs that each mutant is given")
	only := flag.String("only", "", "run the mutants whose name contains this")
	flag.Parse()
	if err := run(*seeds, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(seeds int, only string) error {
	patches, err := filepath.Glob(filepath.Join(folder, "*.patch"))
	if err != nil {
		return err
	}
	if len(patches) == 0 {
		return fmt.Errorf("no patches in %s: run this in the root of the module", folder)
	}
	var errs []error
	ran := 0
	for _, patch := range patches {
		name := strings.TrimSuffix(filepath.Base(patch), ".patch")
		if !strings.Contains(name, only) {
			continue
		}
		start := time.Now()
		said, err := try(patch, seeds)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			said = "NOT CAUGHT: " + err.Error()
		}
		ran++
		fmt.Fprintf(os.Stdout, "%-32s %5.1fs  %.160s\n", name, time.Since(start).Seconds(), said)
	}
	fmt.Fprintf(os.Stdout, "%d of %d mutants caught\n", ran-len(errs), ran)
	return errors.Join(errs...)
}

var (
	target = regexp.MustCompile(`(?m)^--- a/(\S+)`)
	onWay  = regexp.MustCompile(`(?m)^way: (.+)$`)
	byTest = regexp.MustCompile(`(?m)^test: (\S+) (\S+)$`)
	caught = regexp.MustCompile(`caught by seed .*`)
	failed = regexp.MustCompile(`--- FAIL: .*`)
)

// try runs the programs on the code with a patch, and returns what caught it.
func try(patch string, seeds int) (said string, err error) {
	text, err := os.ReadFile(patch)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay, err := apply(patch, text, dir)
	if err != nil {
		return "", err
	}
	way := "in process"
	if found := onWay.FindSubmatch(text); found != nil {
		way = string(found[1])
	}
	notices, pkg, tests := caught, "./integration/model", "^TestSimulate$"
	if found := byTest.FindSubmatch(text); found != nil {
		notices, pkg, tests = failed, string(found[1]), string(found[2])
	}
	cmd := exec.Command("go", "test", "-overlay", overlay, "-count=1", "-timeout=10m", "-run="+tests, pkg)
	cmd.Env = append(os.Environ(), fmt.Sprint("SEEDS=", seeds), "SEED=1", "KEEP_GOING=first", "WAY="+way)
	out, err := cmd.CombinedOutput()
	if found := notices.Find(out); found != nil {
		return string(found), nil
	}
	if err != nil {
		return "", fmt.Errorf("%w: %.2000s", err, out)
	}
	if notices == failed {
		return "", fmt.Errorf("%s found nothing", tests)
	}
	return "", fmt.Errorf("%d seeds found nothing", seeds)
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
