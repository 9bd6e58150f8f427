package streamhub_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSnippets demands that each block of code in a document is compiled or run. The words after the fence say by what:
//
//	text           what a program prints, or a drawing
//	diff           what a migration changes
//	sh             a shell runs it: TestDocuments of cmd/streamhub takes every such block
//	LANGUAGE FILE  it stands in FILE, which is compiled or loaded by a test; or FILE is a test that takes it from the document
func TestSnippets(t *testing.T) {
	found, blocks := badSnippets(t, os.DirFS("."))
	if blocks < 100 {
		t.Errorf("only %d blocks", blocks)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestBadSnippets finds each kind of block that nothing checks, and nothing else.
func TestBadSnippets(t *testing.T) {
	found, blocks := badSnippets(t, tree(map[string]string{
		"good.md": "```text\nout\n```\n```sh\nls\n```\n```go a_test.go\nx := 1\n\nif x > 0 {\n\tuse(x)\n}\n```\n```js page.test.mjs\npage()\n```\n",
		"bad.md": "```\nout\n```\n```go\nx := 1\n```\n```go a_test.go\nx := 2\n```\n```go b_test.go\nx := 1\n```\n```js page.test.mjs\npage()\n```\n" +
			"```text more\nout\n```\n```go a_test.go\n```\n```go a_test.go\nx := 1\nif x > 0 {\n```\n",
		"a_test.go":     "package a\n\nfunc TestPage(t *testing.T) {\n\tx := 1\n\n\tif x > 0 {\n\t\tuse(x)\n\t}\n}\n",
		"page.test.mjs": "readFile('good.md')\n",
	}))
	var at []string
	for _, f := range found {
		at = append(at, strings.SplitN(f, ": ", 2)[0])
	}
	want := []string{"bad.md:1", "bad.md:4", "bad.md:7", "bad.md:10", "bad.md:13", "bad.md:16", "bad.md:19", "bad.md:21"}
	if blocks != 12 || !slices.Equal(at, want) {
		t.Errorf("%d blocks, %q\nwant 12, those at %q", blocks, found, want)
	}
}

// snippet finds the blocks of a document: the words after the fence, and the text.
var snippet = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

// badSnippets returns the blocks of all Markdown that nothing checks, and counts the blocks.
func badSnippets(t *testing.T, tree fs.FS) (bad []string, blocks int) {
	t.Helper()
	for _, name := range documents(t, tree) {
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range snippet.FindAllSubmatchIndex(text, -1) {
			blocks++
			language, by, _ := strings.Cut(string(text[at[2]:at[3]]), " ")
			if fault := checkSnippet(tree, name, language, by, string(text[at[4]:at[5]])); fault != "" {
				line := 1 + bytes.Count(text[:at[0]], []byte("\n"))
				bad = append(bad, fmt.Sprintf("%s:%d: %s", name, line, fault))
			}
		}
	}
	return bad, blocks
}

// checkSnippet says what is wrong with one block, if anything is.
func checkSnippet(tree fs.FS, document, language, by, text string) string {
	switch {
	case language == "":
		return "the block names no language: text, sh, go, ..."
	case language == "text" && by != "":
		return "nothing checks a text: leave the second word out"
	case language == "text", language == "diff", language == "sh" && by == "":
		return ""
	case by == "":
		return "the block does not name the file it stands in, or the test that takes it"
	case strings.TrimSpace(text) == "":
		return "the block is empty"
	}
	source, err := fs.ReadFile(tree, by)
	if err != nil {
		return by + " cannot be read"
	}
	takes := strings.Contains(by, "test.") && strings.Contains(string(source), path.Base(document))
	if !takes && !stands(text, string(source)) {
		return "the block does not stand in " + by
	}
	return ""
}

// stands reports whether the lines of a block follow each other in a source, all indented by the same.
func stands(block, source string) bool {
	lines, all := strings.Split(strings.TrimRight(block, "\n"), "\n"), strings.Split(source, "\n")
	for i := range all {
		indent, found := strings.CutSuffix(all[i], lines[0])
		if !found || strings.TrimSpace(indent) != "" || i+len(lines) > len(all) {
			continue
		}
		if slices.EqualFunc(lines, all[i:i+len(lines)], func(want, have string) bool {
			return have == want && want == "" || have == indent+want
		}) {
			return true
		}
	}
	return false
}
