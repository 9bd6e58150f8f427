package streamhub_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// migrations are the sections of docs/migrating.md, each with the file that holds the new lines of its diff.
var migrations = []struct{ section, tried string }{
	{"fgrzl/streamkit", "client/streamkit/program_test.go"},
	{"gtoxlili/streamhub", "live/example_test.go"},
	{"Genkit Go `core/x/streaming`", "genkit/example_test.go"},
	{"MCP Go SDK", "mcp/example_test.go"},
	{"PromptKit `Conn` and `Session`", "session/example_test.go"},
	{"vercel/resumable-stream", "js/README.md"},
}

// TestMigrating compares docs/migrating.md with the code: each name in a column "here" is declared, in Go or TypeScript, each name that
// streamkit exports is in its section, and each section ends with a migration whose new lines stand in a program.
func TestMigrating(t *testing.T) {
	text, err := os.ReadFile("docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	var order []string
	for _, part := range strings.Split("\n"+string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		sections[name] = body
		order = append(order, name)
	}
	if len(order) != len(migrations) {
		t.Errorf("the sections are %q", order)
	}
	names, declared := exportedNames(t), typeScriptNames(t)
	rows := 0
	for _, m := range migrations {
		body := sections[m.section]
		for _, line := range strings.Split(body, "\n") {
			cells := strings.Split(line, " | ")
			if !strings.HasPrefix(line, "| ") || len(cells) < 2 {
				continue
			}
			rows++
			if m.section == "vercel/resumable-stream" {
				if cells[1] == "the same" {
					cells[1] = strings.TrimPrefix(cells[0], "| ")
				}
				for _, wrong := range undeclaredTS(declared, cells[1]) {
					t.Errorf("%s: %s is not declared in js/src: %s", m.section, wrong, line)
				}
				continue
			}
			for _, wrong := range undeclared(names, cells[1]) {
				t.Errorf("%s: %s is not declared: %s", m.section, wrong, line)
			}
		}
		source, err := os.ReadFile(m.tried)
		if err != nil {
			t.Fatal(err)
		}
		have := strings.Split(string(source), "\n")
		for i := range have {
			code, _, _ := strings.Cut(have[i], " // ")
			have[i] = strings.TrimSpace(code)
		}
		at := strings.LastIndex(body, "```diff\n")
		if at < 0 || !strings.HasSuffix(strings.TrimSpace(body), "```") {
			t.Errorf("%s: it does not end with a migration", m.section)
			continue
		}
		added := 0
		for _, line := range strings.Split(body[at:], "\n") {
			if line, ok := strings.CutPrefix(line, "+"); ok {
				added++
				if !slices.Contains(have, strings.TrimSpace(line)) {
					t.Errorf("%s: %s has no line %q", m.section, m.tried, line)
				}
			}
		}
		if added == 0 {
			t.Errorf("%s: its migration adds nothing", m.section)
		}
	}
	if rows < 50 {
		t.Errorf("only %d rows were compared", rows)
	}

	list, err := os.ReadFile("client/streamkit/testdata/api.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(list)), "\n")[1:] {
		name := regexp.MustCompile(`^\w+\.(\w+)`).FindStringSubmatch(line)[1]
		if suffix, ok := strings.CutPrefix(name, "NewClientWith"); ok && strings.Contains(sections["fgrzl/streamkit"], "…With"+suffix) {
			continue
		}
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(sections["fgrzl/streamkit"]) {
			t.Errorf("the section of streamkit does not name %s", name)
		}
	}
}

// goName is a name of Go, perhaps with a package or a type before it.
var goName = regexp.MustCompile(`\b(?:[a-z]+\.)?[A-Z]\w*(?:\.[A-Z]\w*)?`)

// undeclared returns the names in the code of a cell that nothing declares.
func undeclared(names map[string]bool, cell string) (wrong []string) {
	for _, code := range regexp.MustCompile("`[^`]+`").FindAllString(cell, -1) {
		for _, name := range goName.FindAllString(code, -1) {
			_, last, qualified := strings.Cut(name, ".")
			if first := name[:1]; qualified && strings.ToLower(first) == first && !names[name] {
				name = last // of a variable, like store.Live
			}
			if !names[name] {
				wrong = append(wrong, name)
			}
		}
	}
	return wrong
}

// typeScriptNames are the functions, types, members and parameters that the package for the web declares.
func typeScriptNames(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("js/src/*.ts")
	if err != nil || len(files) == 0 {
		t.Fatalf("js/src: %v", err)
	}
	names := map[string]bool{}
	comment := regexp.MustCompile(`(?s)/\*.*?\*/|(?m)^\s*//.*$`)
	declaration := regexp.MustCompile(`(?m)^(?:export (?:async )?(?:function|class|interface|type|const) |  (?:readonly )?)(\w+)\??[ (<:=]`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declaration.FindAllSubmatch(comment.ReplaceAll(text, nil), -1) {
			names[string(m[1])] = true
		}
	}
	return names
}

// undeclaredTS returns the names in the code of a cell that js/src does not declare.
func undeclaredTS(names map[string]bool, cell string) (wrong []string) {
	for _, code := range regexp.MustCompile("`[^`]+`").FindAllString(cell, -1) {
		for _, name := range regexp.MustCompile(`[A-Za-z]\w*`).FindAllString(code, -1) {
			if !names[name] {
				wrong = append(wrong, name)
			}
		}
	}
	return wrong
}

// TestUndeclared finds names that nothing declares, and no others.
func TestUndeclared(t *testing.T) {
	names := exportedNames(t)
	wrong := undeclared(names, "`Store.Append` and `hub.Open`, `client.NoSuch`, `Store.NoSuch`, `store.Live(space)`, `NoSuch`, `[]streamhub.Worker`, NoSuch")
	if want := []string{"NoSuch", "Store.NoSuch", "NoSuch"}; !slices.Equal(wrong, want) {
		t.Errorf("%q, want %q", wrong, want)
	}
	wrong = undeclaredTS(typeScriptNames(t), "`resumableStream({ url, publisher })`, `Whoever`, `hasExistingStream`, noSuch")
	if want := []string{"publisher", "Whoever"}; !slices.Equal(wrong, want) {
		t.Errorf("%q, want %q", wrong, want)
	}
}

// exportedNames are the exported names of all packages but internal ones: as Name, as package.Name and, for fields and
// methods, as Member and as Type.Member and package.Type.Member.
func exportedNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"internal", "cmd", "node_modules", "js", "deploy", "integration", "bench", "examples", "bin"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		add := func(parts ...string) {
			for i := range parts {
				names[strings.Join(parts[i:], ".")] = true
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					add(f.Name.Name, n.Name.Name)
				} else if of := receiver(n.Recv.List[0].Type); of != "" {
					add(f.Name.Name, of, n.Name.Name)
				}
				return false
			case *ast.ValueSpec:
				for _, name := range n.Names {
					add(f.Name.Name, name.Name)
				}
			case *ast.TypeSpec:
				add(f.Name.Name, n.Name.Name)
				var fields *ast.FieldList
				switch of := n.Type.(type) {
				case *ast.StructType:
					fields = of.Fields
				case *ast.InterfaceType:
					fields = of.Methods
				}
				if fields != nil {
					for _, field := range fields.List {
						for _, name := range field.Names {
							add(f.Name.Name, n.Name.Name, name.Name)
						}
					}
				}
				return false
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// receiver is the name of the type of a method.
func receiver(of ast.Expr) string {
	for {
		switch t := of.(type) {
		case *ast.StarExpr:
			of = t.X
		case *ast.IndexExpr:
			of = t.X
		case *ast.IndexListExpr:
			of = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}
