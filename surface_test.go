package streamhub_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestSurface reads the exported declarations of every public package: none may name a package that
// only this module can import. What it names a program outside could not write.
func TestSurface(t *testing.T) {
	touch(t)
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "internal", "cmd", "examples", "integration", "testdata", "node_modules", "js", "docs":
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			files++
			for _, fault := range internalNames(t, name, nil) {
				t.Error(fault)
			}
		}
		return nil
	})
	if err != nil || files < 50 {
		t.Fatalf("%d files, %v", files, err)
	}
}

// internalNames returns the places in a file where an exported declaration names an internal package.
func internalNames(t *testing.T, name string, source any) (faults []string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	inside := map[string]bool{}
	for _, i := range file.Imports {
		at, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(at+"/", "/internal/") {
			continue
		}
		local := path.Base(at)
		if i.Name != nil {
			local = i.Name.Name
		}
		inside[local] = true
	}
	look := func(what string, node ast.Node) {
		if node == nil {
			return
		}
		ast.Inspect(node, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok && len(field.Names) > 0 && !field.Names[0].IsExported() && what != "func" {
				return false
			}
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && inside[x.Name] {
					faults = append(faults, set.Position(s.Pos()).String()+": an exported "+what+" names "+x.Name+"."+s.Sel.Name)
				}
			}
			return true
		})
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv.List[0].Type)) {
				look("func", d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						look("type", s.Type)
					}
				case *ast.ValueSpec:
					if s.Names[0].IsExported() && s.Type != nil {
						look("value", s.Type)
					}
				}
			}
		}
	}
	return faults
}

func exportedReceiver(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.StarExpr:
		return exportedReceiver(e.X)
	case *ast.IndexExpr:
		return exportedReceiver(e.X)
	case *ast.IndexListExpr:
		return exportedReceiver(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}

// TestSurfaceNotices gives the check declarations that break it, and some that do not.
func TestSurfaceNotices(t *testing.T) {
	const head = "package p\nimport (\n\"example.com/m/internal/in\"\nout \"example.com/m/internal/other\"\n\"example.com/m/fine\"\n)\n"
	for source, want := range map[string]int{
		"type T = in.T":                                  1,
		"type T in.T":                                    1,
		"type T struct { A in.T; b out.T }":              1,
		"type T struct { in.T }":                         1,
		"type T interface { M(in.T) }":                   1,
		"func F(a in.T) (b *out.T) { return nil }":       2,
		"type T int\nfunc (T) F() []in.T { return nil }": 1,
		"var V in.T":                                     1,
		"type t = in.T":                                  0,
		"func f(in.T) {}":                                0,
		"type t int\nfunc (t) F(in.T) {}":                0,
		"type T struct { a in.T }":                       0,
		"func F(fine.T) { in.F() }":                      0,
	} {
		if got := internalNames(t, "p.go", head+source); len(got) != want {
			t.Errorf("%s: %v, want %d", source, got, want)
		}
	}
}
