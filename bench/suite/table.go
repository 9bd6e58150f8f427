package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// theTable is the table of results in docs/benchmarks.md, up to the empty line after it.
var theTable = regexp.MustCompile(`(?m)^\| row \| contestant \|.*\n(\|.*\n)*`)

// replaceTable replaces the table of results in a Markdown file.
func replaceTable(r *report, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n := len(theTable.FindAll(text, -1)); n != 1 {
		return fmt.Errorf("%s has %d tables of rows and contestants, not 1", file, n)
	}
	text = theTable.ReplaceAllLiteral(text, []byte(r.table()))
	return os.WriteFile(file, text, 0o644) //nolint:gosec // it is published
}

func (r *report) table() string {
	var out strings.Builder
	out.WriteString("| row | contestant | median | Redis µs | process µs | streamhub is | target | |\n|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.Results {
		for i, s := range row.Contestants {
			title, name := "", s.Name
			if i == 0 {
				title = fmt.Sprintf("%s (%s)", row.Row, row.Unit)
			}
			if i == ours {
				name = "**" + name + "**"
			}
			cells := []string{title, name, grouped(s.Figure), used(s.Redis), used(s.Process), s.ratio(), s.Target, s.verdict("**")}
			fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	return out.String()
}

// used is a time in microseconds, or empty where none was measured.
func used(cpu float64) string {
	if cpu == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", cpu)
}

func (s *standing) ratio() string {
	if s.Ratio == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f ×", s.Ratio)
}

// verdict says whether the target is met, with marks around what is not, and whether rounds differ.
func (s *standing) verdict(mark string) string {
	var all []string
	switch {
	case s.Target == "":
	case s.Holds:
		all = append(all, "holds")
	default:
		all = append(all, mark+"falls short"+mark)
	}
	if s.Noisy {
		all = append(all, "noisy")
	}
	return strings.Join(all, ", ")
}

// grouped is a number with three digits or more, its thousands apart.
func grouped(v float64) string {
	if v < 999.5 {
		return fmt.Sprintf("%.3g", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
