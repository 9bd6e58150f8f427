package streamhub_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// contract is docs/contracts.md.
func contract(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("docs/contracts.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// marker names a test that holds a guarantee: the package and, after a #, the function or the case.
var marker = regexp.MustCompile("`([a-z./]+)#([A-Za-z]+)`")

// TestContractsAreHeld finds every test that the contracts name, and a test for every guarantee.
func TestContractsAreHeld(t *testing.T) {
	text := contract(t)
	known := map[string]map[string]bool{}
	found := 0
	for _, m := range marker.FindAllStringSubmatch(text, -1) {
		pkg, name := m[1], m[2]
		if known[pkg] == nil {
			known[pkg] = testsOf(t, pkg)
		}
		if !known[pkg][name] {
			t.Errorf("%s names no test and no case of a contract", m[0])
		}
		found++
	}
	if found < 40 {
		t.Errorf("only %d tests are named", found)
	}
	guarantees := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "| guarantee "):
			guarantees = true
		case !strings.HasPrefix(line, "|"):
			guarantees = false
		case guarantees && !strings.HasPrefix(line, "|---") && !marker.MatchString(line):
			t.Errorf("no test holds this: %s", line)
		}
	}
}

// testsOf names the functions of a package that are tests or cases of a contract, and its named cases.
func testsOf(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no package %s: %v", pkg, err)
	}
	names := map[string]bool{}
	for _, file := range files {
		// A file that is no test counts only in a package whose name says that it is a contract.
		if !strings.HasSuffix(file, "_test.go") && !strings.HasSuffix(filepath.Base(pkg), "test") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if name := n.Name.Name; n.Recv == nil && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "test")) {
					names[name] = true
				}
			case *ast.CompositeLit: // {"Name", test}
				if len(n.Elts) == 0 {
					return true
				}
				if text, ok := n.Elts[0].(*ast.BasicLit); ok && text.Kind == token.STRING {
					if name, err := strconv.Unquote(text.Value); err == nil {
						names[name] = true
					}
				}
			}
			return true
		})
	}
	return names
}

// TestContractsNameEveryCall finds a row for every call of a store, and one for every condition.
func TestContractsNameEveryCall(t *testing.T) {
	_, text, ok := strings.Cut(contract(t), "\n## Calls and their errors\n")
	if !ok {
		t.Fatal("no table of calls")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	named := func(word string) bool { return strings.Contains(text, "`"+word+"`") }
	for _, name := range declared(t, "provider.go", "Store") {
		if name != "ID" && !named(name) {
			t.Errorf("no row says which errors %s returns", name)
		}
	}
	for _, name := range declared(t, "errors.go", "") {
		if !named(name) {
			t.Errorf("no row says what to do about %s", name)
		}
	}
	for _, word := range regexp.MustCompile("`Err[A-Za-z]+`").FindAllString(text, -1) {
		if name := strings.Trim(word, "`"); !slices.Contains(declared(t, "errors.go", ""), name) {
			t.Errorf("%s is no condition", name)
		}
	}
}

// declared lists the methods of an interface in a file, or its variables whose names begin with Err.
func declared(t *testing.T, file, iface string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if methods, ok := n.Type.(*ast.InterfaceType); ok && n.Name.Name == iface {
				for _, m := range methods.Methods.List {
					for _, name := range m.Names {
						names = append(names, name.Name)
					}
				}
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				if iface == "" && strings.HasPrefix(name.Name, "Err") {
					names = append(names, name.Name)
				}
			}
		}
		return true
	})
	if len(names) == 0 {
		t.Fatalf("%s declares nothing of the kind", file)
	}
	return names
}
