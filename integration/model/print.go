package model

import (
	"fmt"
	"reflect"
	"strings"
)

// Go writes a step as Go, without the fields that say nothing.
func Go(s Step) string {
	var fields []string
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() {
			continue
		}
		name := v.Type().Field(i).Name
		switch x := f.Interface().(type) {
		case Op:
			fields = append(fields, fmt.Sprintf("%s: %q", name, string(x)))
		case []Step:
			var parts []string
			for _, part := range x {
				parts = append(parts, Go(part))
			}
			fields = append(fields, fmt.Sprintf("%s: []Step{%s}", name, strings.Join(parts, ", ")))
		default:
			fields = append(fields, fmt.Sprintf("%s: %#v", name, x))
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// Test writes a program as a test for package found.
func Test(name string, program []Step) string {
	var b strings.Builder
	fmt.Fprintf(&b, "func Test%s(t *testing.T) {\n\ttry(t, []model.Step{\n", name)
	for _, s := range program {
		fmt.Fprintf(&b, "\t\t%s,\n", strings.ReplaceAll(Go(s), "[]Step{", "[]model.Step{"))
	}
	b.WriteString("\t})\n}\n")
	return b.String()
}
