package streamkit_test

import (
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNames compares what the packages export with the list of streamkit's names. They may export more.
func TestNames(t *testing.T) {
	list, err := os.ReadFile("testdata/api.txt")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, pkg := range []string{"api", "client", "wskit", "inprockit", "eskit"} {
		for _, name := range exported(t, pkg) {
			have[name] = true
		}
	}
	lines := strings.Split(strings.TrimSpace(string(list)), "\n")[1:]
	if len(lines) < 130 {
		t.Fatalf("the list has %d names", len(lines))
	}
	for _, name := range lines {
		if !have[name] {
			t.Errorf("missing: %s", name)
		}
	}
}

// exported lists what a package declares: functions, fields and methods with their types, and the names of constants
// and variables.
func exported(t *testing.T, pkg string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	text := func(node any) string {
		var b strings.Builder
		if err := printer.Fprint(&b, set, node); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	add := func(name, rest string) { names = append(names, pkg+"."+name+rest) }
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					of := d.Recv.List[0].Type
					if star, ok := of.(*ast.StarExpr); ok {
						of = star.X
					}
					name = text(of) + "." + name
				}
				if d.Name.IsExported() {
					add(name, signature(d.Type, text))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, n := range s.Names {
							add(n.Name, "")
						}
					case *ast.TypeSpec:
						switch of := s.Type.(type) {
						case *ast.StructType:
							for _, field := range of.Fields.List {
								for _, n := range field.Names {
									add(s.Name.Name+"."+n.Name, " "+text(field.Type))
								}
							}
						case *ast.InterfaceType:
							for _, m := range of.Methods.List {
								if of, ok := m.Type.(*ast.FuncType); ok {
									add(s.Name.Name+"."+m.Names[0].Name, signature(of, text))
								}
							}
						default:
							if s.Assign.IsValid() {
								add(s.Name.Name, " = "+text(s.Type))
							}
						}
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// signature is a function without the names of what it takes and returns.
func signature(f *ast.FuncType, text func(any) string) string {
	types := func(fields *ast.FieldList) string {
		var list []string
		if fields != nil {
			for _, field := range fields.List {
				of := text(field.Type)
				if function, ok := field.Type.(*ast.FuncType); ok {
					of = "func" + signature(function, text)
				}
				if more, ok := field.Type.(*ast.Ellipsis); ok {
					if function, ok := more.Elt.(*ast.FuncType); ok {
						of = "...func" + signature(function, text)
					}
				}
				for range max(1, len(field.Names)) {
					list = append(list, of)
				}
			}
		}
		return strings.Join(list, ", ")
	}
	results := types(f.Results)
	switch {
	case results == "":
		return "(" + types(f.Params) + ")"
	case strings.Contains(results, ", ") && f.Results.NumFields() > 1:
		return "(" + types(f.Params) + ") (" + results + ")"
	}
	return "(" + types(f.Params) + ") " + results
}
