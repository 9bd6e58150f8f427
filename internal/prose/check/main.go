// Command check runs the project's prose check over the files that git knows, and exits with 1 when it finds something.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/seed-147127fe/streamhub/internal/prose"
)

func main() {
	files, err := exec.Command("git", "ls-files", "-z", "*.go", "*.md").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "prose: git ls-files:", err)
		os.Exit(2)
	}
	n := 0
	for _, file := range strings.Split(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		found, err := inspect(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, "prose:", err)
			os.Exit(2)
		}
		for _, f := range found {
			fmt.Fprintln(os.Stdout, f)
		}
		n += len(found)
	}
	if n > 0 {
		fmt.Fprintf(os.Stderr, "prose: %d findings\n", n)
		os.Exit(1)
	}
}

func inspect(file string) ([]prose.Finding, error) {
	if strings.Contains(file, "testdata/") || strings.HasSuffix(file, "_test.go") {
		return nil, nil
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(file, ".md") {
		return prose.Markdown(file, src), nil
	}
	return prose.Go(file, src)
}
