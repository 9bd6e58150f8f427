package streamhub_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// limits says where the code has the default of each row of the table of limits, and how the row writes it: a
// verb of fmt stands for each value, in their order.
var limits = map[string]struct {
	text   string
	values []string // "<directory> <name>"
}{
	"connections of the process":                                             {"%n", []string{"internal/auth Connections"}},
	"connections of a subject":                                               {"%n", []string{"internal/auth PerSubject"}},
	"connections of an address":                                              {"%n", []string{"internal/auth PerIP"}},
	"handshakes a second of the process":                                     {"%n; for %n s at once", []string{"internal/auth Handshakes", "internal/auth burst"}},
	"handshakes a second of an address":                                      {"%n; for %n s at once", []string{"internal/auth HandshakesPerIP", "internal/auth burst"}},
	"bytes before a token":                                                   {"%b", []string{"wsgateway unprovenBytes"}},
	"time before a token":                                                    {"%t", []string{"wsgateway firstMessage"}},
	"tokens of a connection":                                                 {"%n at once, then one a second", []string{"wsgateway tokenBurst"}},
	"readers of a connection":                                                {"%n", []string{"wsgateway defaultReaders"}},
	"message of a client":                                                    {"%b; streamkit %b", []string{"wsgateway MaxMessageBytes", "wsgateway maxFrame"}},
	"payload of a message of streamkit":                                      {"%b", []string{"wsgateway maxPayload"}},
	"records and pairs of metadata of a message":                             {"%n", []string{"internal/wire maxElements"}},
	"lines of a body of chunks":                                              {"%n", []string{"live/livehttp maxLines"}},
	"bytes that came and are not stored":                                     {"%b; streamkit %b", []string{"wsgateway maxHeld", "wsgateway maxHeldMux"}},
	"channels of a streamkit connection":                                     {"%n; %n subscriptions", []string{"wsgateway maxMuxChannels", "wsgateway maxMuxSubscriptions"}},
	"requests under way of the process":                                      {"%n", []string{"internal/front Requests"}},
	"requests under way of a subject":                                        {"%n", []string{"internal/front RequestsPerSubject"}},
	"requests under way of an address":                                       {"%n", []string{"internal/front RequestsPerIP"}},
	"bytes of bodies and large messages of the process":                      {"%b", []string{"internal/front BodyBytes"}},
	"bytes of bodies and large messages of a subject":                        {"%b", []string{"internal/front BodyBytesPerSubject"}},
	"time of a body or a large message":                                      {"%t; and a second for %b", []string{"internal/front BodyPause", "internal/front bodyRate"}},
	"headers of a request":                                                   {"%b", []string{"cmd/streamhub maxHeaderBytes"}},
	"time of headers":                                                        {"%t", []string{"cmd/streamhub readHeaderTimeout"}},
	"bytes of bodies that a connection of HTTP/2 sends before they are read": {"%b", []string{"cmd/streamhub maxUnread"}},
	"bytes that a store keeps in Redis":                                      {"none", nil},
}

// TestLimitsAreDocumented compares the table of limits with the code, and finds the tests that reach them.
func TestLimitsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/auth.md")
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for name := range limits {
		left[name] = true
	}
	known := map[string]map[string]bool{}
	inside := false
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "what" && len(cells) == 7:
			inside = true
			continue
		case !strings.HasPrefix(line, "|"):
			inside = false
		case strings.HasPrefix(line, "|---"):
			continue
		}
		if !inside {
			continue
		}
		row, ok := limits[cells[0]]
		if !ok || len(cells) != 7 {
			t.Errorf("a row that the code does not know: %s", line)
			continue
		}
		delete(left, cells[0])
		if want := written(t, row.text, row.values); cells[1] != want {
			t.Errorf("%s: the table says %q, the code %q", cells[0], cells[1], want)
		}
		for _, m := range marker.FindAllStringSubmatch(cells[6], -1) {
			if known[m[1]] == nil {
				known[m[1]] = testsOf(t, m[1])
			}
			if !known[m[1]][m[2]] {
				t.Errorf("%s: %s names no test", cells[0], m[0])
			}
		}
		if !marker.MatchString(cells[6]) && cells[5] != "no more is read" {
			t.Errorf("%s: no test reaches this limit", cells[0])
		}
	}
	for name := range left {
		t.Errorf("no row for %s", name)
	}
}

// written returns a default as the table has it.
func written(t *testing.T, text string, values []string) string {
	t.Helper()
	for _, v := range values {
		dir, name, _ := strings.Cut(v, " ")
		value, ok := valueOf(t, dir, name)
		if !ok {
			t.Errorf("%s has no default of %s", dir, name)
		}
		at := strings.IndexByte(text, '%')
		var form string
		switch text[at+1] {
		case 'n':
			form = thousands(value)
		case 't':
			form = strings.TrimSuffix(time.Duration(value).String(), "s") + " s"
		case 'b':
			if form = thousands(value>>10) + " KiB"; value%(1<<20) == 0 {
				form = thousands(value>>20) + " MiB"
			}
		}
		text = text[:at] + form + text[at+2:]
	}
	return text
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// valueOf evaluates a constant of a package, or the default of a field: what cmp.Or takes in its place.
func valueOf(t *testing.T, dir, name string) (value int64, ok bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no package %s: %v", dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		is := func(e ast.Expr) bool { s, ok := e.(*ast.SelectorExpr); return ok && s.Sel.Name == name }
		ast.Inspect(parsed, func(n ast.Node) bool {
			var from ast.Expr
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, ident := range n.Names {
					if ident.Name == name && i < len(n.Values) {
						from = n.Values[i]
					}
				}
			case *ast.CallExpr:
				if or, isSelector := n.Fun.(*ast.SelectorExpr); isSelector && or.Sel.Name == "Or" && len(n.Args) == 2 && is(n.Args[0]) {
					from = n.Args[1]
				}
			}
			if from != nil && !ok {
				if v := evaluate(t, dir, from); v.Kind() == constant.Int {
					value, ok = constant.Int64Val(v)
				}
			}
			return true
		})
	}
	return value, ok
}

func evaluate(t *testing.T, dir string, e ast.Expr) constant.Value {
	t.Helper()
	named := func(dir, name string) constant.Value {
		if v, ok := valueOf(t, dir, name); ok {
			return constant.MakeInt64(v)
		}
		return constant.MakeUnknown()
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.ParenExpr:
		return evaluate(t, dir, e.X)
	case *ast.Ident:
		return named(dir, e.Name)
	case *ast.SelectorExpr:
		switch of, _ := e.X.(*ast.Ident); {
		case of == nil:
		case of.Name == "streamhub":
			return named(".", e.Sel.Name)
		case of.Name == "wire":
			return named("internal/wire", e.Sel.Name)
		case of.Name == "time" && e.Sel.Name == "Second":
			return constant.MakeInt64(int64(time.Second))
		}
	case *ast.BinaryExpr:
		x, y := evaluate(t, dir, e.X), evaluate(t, dir, e.Y)
		if x.Kind() != constant.Int || y.Kind() != constant.Int {
			break
		}
		if e.Op == token.SHL {
			by, _ := constant.Uint64Val(y)
			return constant.Shift(x, token.SHL, uint(by))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	return constant.MakeUnknown()
}
