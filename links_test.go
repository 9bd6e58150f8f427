package streamhub_test

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
)

var (
	fence      = regexp.MustCompile("^\\s*(```|~~~)")
	inlineCode = regexp.MustCompile("``[^`]+``|`[^`]*`")
	link       = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?[^)]*\)`)
	heading    = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	anchorTag  = regexp.MustCompile(`<a\s+(?:id|name)="([^"]+)"`)
	linkText   = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

// TestLinks follows every relative link of every document, to its file and to its heading.
func TestLinks(t *testing.T) {
	broken, documents := brokenLinks(t, os.DirFS("."))
	if documents < 15 {
		t.Errorf("only %d documents", documents)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

// TestBrokenLinks finds each kind of broken link, and nothing else.
func TestBrokenLinks(t *testing.T) {
	broken, _ := brokenLinks(t, tree(map[string]string{
		"README.md": "# A `code` title: x, y\n[a](docs/a.md) [b](docs/b.md) [c](docs/a.md#one-two) [d](docs/a.md#two)\n" +
			"[e](#a-code-title-x-y) [f](#x) [g](https://example.com/x) `[h](nowhere.md)` ![i](no.png)\n```\n[j](nowhere.md)\n```\n[k](docs) [l](../outside.md)\n",
		"docs/a.md": "# One, two\n## Same\n## Same\n[m](../README.md) [n](#same-1) [o](#same-2)\n```\n# No heading\n```\n[p](#no-heading)\n",
	}))
	want := []string{
		"README.md:2: docs/a.md#two", "README.md:2: docs/b.md", "README.md:3: #x", "README.md:3: no.png", "README.md:7: ../outside.md",
		"docs/a.md:4: #same-2", "docs/a.md:8: #no-heading",
	}
	if !slices.Equal(broken, want) {
		t.Errorf("%q\nwant %q", broken, want)
	}
}

// tree is a file system with texts.
func tree(texts map[string]string) fs.FS {
	files := fstest.MapFS{}
	for name, text := range texts {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// brokenLinks returns the links of all Markdown that lead nowhere, and counts the documents.
func brokenLinks(t *testing.T, tree fs.FS) (broken []string, count int) {
	t.Helper()
	names := documents(t, tree)
	for _, name := range names {
		for _, l := range markdown(t, tree, name).links {
			if !leads(t, tree, name, l.to) {
				broken = append(broken, fmt.Sprintf("%s:%d: %s", name, l.line, l.to))
			}
		}
	}
	slices.Sort(broken)
	return broken, len(names)
}

// documents returns the names of all Markdown of the project.
func documents(t *testing.T, tree fs.FS) []string {
	t.Helper()
	return files(t, tree, func(name string) bool { return path.Ext(name) == ".md" })
}

// files returns the names of the project's own files that match, sorted.
func files(t *testing.T, tree fs.FS, match func(name string) bool) (found []string) {
	t.Helper()
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "testdata" || entry.Name() == "dist" || entry.Name() != "." && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case !entry.IsDir() && match(name):
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// leads reports whether a link from a document leads somewhere. Those to other hosts are not followed.
func leads(t *testing.T, tree fs.FS, from, to string) bool {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		return false
	}
	if u.Scheme != "" || u.Host != "" {
		return true
	}
	target := from
	if u.Path != "" {
		target = path.Join(path.Dir(from), u.Path)
	}
	if _, err := fs.Stat(tree, target); err != nil {
		return false
	}
	return u.Fragment == "" || path.Ext(target) != ".md" || slices.Contains(markdown(t, tree, target).anchors, u.Fragment)
}

type document struct {
	anchors []string
	links   []struct {
		line int
		to   string
	}
}

// markdown reads a document as GitHub shows it.
func markdown(t *testing.T, tree fs.FS, name string) (d document) {
	t.Helper()
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	inFence := false
	for i, line := range strings.Split(string(text), "\n") {
		if fence.MatchString(line) {
			inFence = !inFence
			continue
		}
		if inFence {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			anchor := slug(m[1])
			if n := slices.Index(d.anchors, anchor); n >= 0 {
				for k := 1; n >= 0; k++ {
					n = slices.Index(d.anchors, fmt.Sprint(anchor, "-", k))
					if n < 0 {
						anchor = fmt.Sprint(anchor, "-", k)
					}
				}
			}
			d.anchors = append(d.anchors, anchor)
		}
		for _, m := range anchorTag.FindAllStringSubmatch(line, -1) {
			d.anchors = append(d.anchors, m[1])
		}
		for _, m := range link.FindAllStringSubmatch(inlineCode.ReplaceAllString(line, ""), -1) {
			d.links = append(d.links, struct {
				line int
				to   string
			}{i + 1, m[1]})
		}
	}
	return d
}

// slug is the anchor that GitHub gives a heading.
func slug(title string) string {
	title = linkText.ReplaceAllString(title, "$1")
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}
