package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write docs/commands.md again")

const referenceFile = "../../docs/commands.md"

// TestReference compares docs/commands.md with the commands and flags that there are.
func TestReference(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("streamhub"), kong.Bind(&settings{}))
	if err != nil {
		t.Fatal(err)
	}
	want := reference(parser.Model)
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/commands.md is not what the code says: go test ./cmd/streamhub -run TestReference -update")
	}
}

// reference writes all commands and flags as Markdown. What several commands share is listed once.
func reference(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(`# Commands

Written by ` + "`go test ./cmd/streamhub -run TestReference -update`" + ` from the code. [Operations](operations.md) has the exit codes and says
how variables and a file set flags: ` + "`--a-b` is `STREAMHUB_A_B`, `--redis` is `STREAMHUB_REDIS_URL`" + `.

`)
	leaves := app.Leaves(true)
	count := map[string]int{}
	for _, leaf := range leaves {
		for _, f := range leaf.Flags {
			count[f.Name+f.Help]++
		}
	}
	const shared = 5 // commands or more have a flag that is listed once
	table := func(flags []*kong.Flag) {
		b.WriteString("| flag | default | |\n|---|---|---|\n")
		for _, f := range flags {
			name := "--" + f.Name
			if f.Short != 0 {
				name = "-" + string(f.Short) + ", " + name
			}
			if !f.IsBool() {
				name += " " + strings.Trim(f.FormatPlaceHolder(), `"`)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", cell(name), code(f.Default), cell(f.Help))
		}
		b.WriteString("\n")
	}
	b.WriteString("## Flags of many commands\n\nEach command takes those of these that its `--help` names.\n\n")
	var common []*kong.Flag
	seen := map[string]bool{}
	for _, leaf := range leaves {
		for _, f := range leaf.Flags {
			if key := f.Name + f.Help; count[key] >= shared && !seen[key] && f.Name != "help" {
				seen[key] = true
				common = append(common, f)
			}
		}
	}
	table(append(common, app.Flags...))
	for _, leaf := range leaves {
		fmt.Fprintf(&b, "## streamhub %s\n\n%s\n\n", leaf.Path(), leaf.Help)
		if len(leaf.Positional) > 0 {
			b.WriteString("| argument | |\n|---|---|\n")
			for _, p := range leaf.Positional {
				fmt.Fprintf(&b, "| `%s` | %s |\n", cell(p.Summary()), cell(p.Help))
			}
			b.WriteString("\n")
		}
		var own []*kong.Flag
		for _, f := range leaf.Flags {
			if count[f.Name+f.Help] < shared && f.Name != "help" {
				own = append(own, f)
			}
		}
		if len(own) > 0 {
			table(own)
		}
		if _, lines, ok := strings.Cut(leaf.Detail, "Examples:\n\n"); ok {
			b.WriteString("```sh cmd/streamhub/help_test.go\n" + strings.ReplaceAll(strings.TrimPrefix(lines, "    "), "\n    ", "\n") + "\n```\n\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}

// cell writes a text for a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
