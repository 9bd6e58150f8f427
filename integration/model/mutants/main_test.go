package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestApply: a mutant that no longer fits the code proves nothing, and only a long run would say so.
func TestApply(t *testing.T) {
	patches, err := filepath.Glob("*.patch")
	if err != nil || len(patches) == 0 {
		t.Fatal(patches, err)
	}
	for _, patch := range patches {
		check := exec.Command("git", "apply", "--check", filepath.Join(folder, patch))
		check.Dir = filepath.Join("..", "..", "..")
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", patch, err, out)
		}
	}
}
