// Package prose checks the project's English: sentences that are too long, and words that the house style replaces.
//
// It reads the comments and the error messages of Go files, and the text of Markdown files. It knows no grammar: it
// finds what a list of patterns and a word count can find. `go run ./internal/prose/check` runs it over the project.
package prose

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// MaxWords is the length of the longest sentence that passes.
const MaxWords = 30

// A Finding is one place that a writer has to change.
type Finding struct {
	File string
	Line int
	Text string // what is wrong, and what to write instead
}

func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text) }

// A rule names a pattern to avoid and what to write instead.
type rule struct {
	avoid   *regexp.Regexp
	instead string
}

// rules lists the words of the house style with their replacements. A pattern matches in any case. Go's regular
// expressions look neither ahead nor back, so a pattern spells out the uses that it means.
var rules = []rule{
	// A position in time or order. A proxy or a firewall has things behind it, and a reader falls behind.
	avoid(`\b(?:right|just|directly|entry|entries|records?|bytes|those|goes on|go on|comes?|came|cursor|position|reads?|resumes?) behind\b`, "after"),
	avoid(`\bahead of\b`, "before"),
	avoid(`\banother life\b|\bits life\b|\bits lives\b`, "incarnation"),
	avoid(`\blooks? after\b`, "monitors, maintains"),
	avoid(`\btry again what\b`, "retry"),
	avoid(`\bsomebody(?:'s)?\b|\bnobody\b`, "the caller, the program, no reader (name it)"),
	avoid(`\bwhoever\b`, "a caller that"),
	avoid(`\bwhatsoever\b|\bthereby\b|\bthereof\b|\bwherein\b|\bhenceforth\b`, "a plain word"),
	avoid(`\b(?:caller|reader|producer|client|writer|follower|gateway|process|instance|server|program|peer|hub|consumer|worker|holder)s? who\b`, "that"),
	avoid(`\bof which\b`, "two sentences"),
	avoid(`\butili[sz]e[sd]?\b|\butili[sz]ing\b`, "use"),
	avoid(`\bin order to\b`, "to"),
	avoid(`\banew\b`, "again"),
	avoid(`\bno (?:caller|client) is told\b`, "receives failures that no call returns"),
	avoid(`\bwhatever (?:becomes|became) of\b`, "even if it fails"),
	avoid(`\bprior to\b`, "before"),
	avoid(`\bit is (?:important|worth) (?:to note|noting) that\b`, "say it"),
}

// avoid is a rule whose pattern goes over the end of a line wherever it has a space.
func avoid(pattern, instead string) rule {
	return rule{regexp.MustCompile(`(?i)` + strings.ReplaceAll(pattern, " ", `\s+`)), instead}
}

// A text is a piece of prose and the line that it begins in.
type text struct {
	line int
	body string
}

// check returns what is wrong with one piece of prose. Each line feed in it stands for one line of the file.
func check(file string, t text) []Finding {
	var found []Finding
	for _, r := range rules {
		for _, at := range r.avoid.FindAllStringIndex(t.body, -1) {
			line := t.line + strings.Count(t.body[:at[0]], "\n")
			found = append(found, Finding{file, line, fmt.Sprintf("%q: write %s", strings.ReplaceAll(t.body[at[0]:at[1]], "\n", " "), r.instead)})
		}
	}
	for _, s := range sentences(t) {
		if n := words(s.body); n > MaxWords {
			found = append(found, Finding{file, s.line, fmt.Sprintf("a sentence of %d words (at most %d): %s", n, MaxWords, opening(s.body))})
		}
	}
	return found
}

// opening returns the first words of a sentence, enough to find it.
func opening(s string) string {
	f := strings.Fields(s)
	if len(f) > 8 {
		return strings.Join(f[:8], " ") + " …"
	}
	return strings.Join(f, " ")
}

// words counts the words of a sentence: fields that hold a letter.
func words(s string) int {
	n := 0
	for _, f := range strings.Fields(s) {
		if strings.ContainsFunc(f, unicode.IsLetter) {
			n++
		}
	}
	return n
}

// sentences splits prose at full stops, question and exclamation marks, colons, semicolons and dots between links
// before a space, and at empty lines. What follows a colon is read on its own.
func sentences(t text) []text {
	var out []text
	line, start, startLine := t.line, 0, t.line
	cut := func(end int) {
		body := t.body[start:end]
		lead := len(body) - len(strings.TrimLeft(body, " \t\n"))
		if s := strings.TrimSpace(body); s != "" {
			out = append(out, text{startLine + strings.Count(body[:lead], "\n"), s})
		}
		start, startLine = end, line
	}
	for i, c := range t.body {
		switch c {
		case '\n':
			if strings.HasPrefix(strings.TrimLeft(t.body[i+1:], " \t"), "\n") {
				cut(i)
			}
			line++
		case '·':
			cut(i)
		case '.', '!', '?', ':', ';':
			rest := strings.TrimLeft(t.body[i+1:], ")\"'*_`”")
			if (rest == "" || unicode.IsSpace(rune(rest[0]))) && !abbreviation(t.body[:i+1]) {
				cut(len(t.body) - len(rest))
			}
		}
	}
	cut(len(t.body))
	return out
}

// abbreviation reports whether the full stop at the end of s does not end a sentence.
func abbreviation(s string) bool {
	return strings.HasSuffix(s, "e.g.") || strings.HasSuffix(s, "i.e.") || strings.HasSuffix(s, " vs.")
}

// Go returns what is wrong with the comments and error messages of a Go file.
func Go(file string, src []byte) ([]Finding, error) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(f) {
		return nil, nil
	}
	var found []Finding
	for _, group := range f.Comments {
		found = append(found, check(file, text{set.Position(group.Pos()).Line, comment(group)})...)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !makesError(call.Fun) {
			return true
		}
		for _, arg := range call.Args {
			lit, ok := arg.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				continue
			}
			if s, err := strconv.Unquote(lit.Value); err == nil {
				found = append(found, check(file, text{set.Position(lit.Pos()).Line, s})...)
			}
		}
		return true
	})
	return found, nil
}

// makesError reports whether a call's function is one whose string is read as an error message.
func makesError(fun ast.Expr) bool {
	name := ""
	switch f := fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	return name == "Errorf" || name == "New" || strings.HasSuffix(name, "Error") || strings.HasSuffix(name, "Err")
}

// comment returns the prose of a comment group, line by line: without markers, directives and code, which is indented.
func comment(group *ast.CommentGroup) string {
	var b strings.Builder
	for _, c := range group.List {
		body := strings.TrimSuffix(strings.TrimPrefix(c.Text, "/*"), "*/")
		for _, line := range strings.Split(body, "\n") {
			if strings.HasPrefix(line, "//") {
				line = line[2:]
				if line != "" && line[0] != ' ' && line[0] != '\t' {
					line = "" // a directive
				}
			}
			b.WriteString(proseOf(strings.TrimPrefix(line, " ")))
			b.WriteByte('\n')
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// proseOf returns a line of a doc comment, with a list item as a paragraph of its own and code as nothing.
func proseOf(line string) string {
	trimmed := strings.TrimLeft(line, " \t")
	if listItem.MatchString(trimmed) {
		return listItem.ReplaceAllString(trimmed, "")
	}
	if strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "    ") {
		return ""
	}
	return line
}

var listItem = regexp.MustCompile(`^(?:[-*+•]|\d+[.)])\s+`)

// Markdown returns what is wrong with the text of a Markdown file. Code, links' targets and HTML are not text; a table
// cell, a heading and a list item are texts of their own.
func Markdown(file string, src []byte) []Finding {
	var found []Finding
	var para strings.Builder
	start, fence := 0, ""
	flush := func() {
		if para.Len() > 0 {
			found = append(found, check(file, text{start, para.String()})...)
			para.Reset()
		}
	}
	for i, line := range strings.Split(string(src), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence != "":
			if strings.HasPrefix(trimmed, fence) && strings.Trim(trimmed, fence[:1]) == "" {
				fence = ""
			}
			continue
		case strings.HasPrefix(trimmed, "```"), strings.HasPrefix(trimmed, "~~~"):
			flush()
			fence = trimmed[:3]
			continue
		case trimmed == "", strings.HasPrefix(trimmed, "<"), para.Len() == 0 && strings.HasPrefix(line, "    "):
			flush()
			continue
		case strings.HasPrefix(trimmed, "|"):
			flush()
			for _, cell := range strings.Split(trimmed, "|") {
				found = append(found, check(file, text{i + 1, plain(cell)})...)
			}
			continue
		case strings.HasPrefix(trimmed, "#"), listItem.MatchString(trimmed):
			flush()
		}
		if para.Len() == 0 {
			start = i + 1
		} else {
			para.WriteByte('\n')
		}
		para.WriteString(plain(listItem.ReplaceAllString(strings.TrimLeft(trimmed, "#> "), "")))
		if strings.HasPrefix(trimmed, "#") {
			flush()
		}
	}
	flush()
	return found
}

var (
	code   = regexp.MustCompile("`[^`]*`")
	target = regexp.MustCompile(`\]\([^)]*\)`)
)

// plain replaces code by one word and drops the targets of links.
func plain(line string) string {
	return target.ReplaceAllString(code.ReplaceAllString(line, "code"), "]")
}
