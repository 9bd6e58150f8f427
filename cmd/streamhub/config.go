package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// configCmd groups the commands for the configuration.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check the variables and the file that --config names."`
	Show  configShowCmd  `cmd:"" help:"Write the flags of a command with their values, without secrets, and where each comes from."`
}

type configCheckCmd struct{}

// Run reports every value that is invalid for a flag of some command.
func (configCheckCmd) Run(s *session, app *kong.Kong, c *settings) error {
	var wrong []string
	names := map[string]bool{}
	for _, leaf := range app.Model.Leaves(true) {
		wrong = append(wrong, c.rivals(leaf)...)
		for node := leaf; node != nil; node = node.Parent {
			for _, flag := range node.Flags {
				text, from := c.value(leaf, flag)
				if names[flag.Name] = true; from == fromDefault {
					continue
				}
				if err := c.try(flag, text, from); err != nil {
					wrong = append(wrong, fmt.Sprintf("--%s %v", flag.Name, err))
				}
			}
		}
	}
	for _, pair := range s.env {
		name, _, _ := strings.Cut(pair, "=")
		flag := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "STREAMHUB_")), "_", "-")
		if strings.HasPrefix(name, "STREAMHUB_") && !names[flag] && name != redisVariable && name != passwordVariable && name != tokenVariable {
			s.note("$%s is the variable of no flag", name)
		}
	}
	if len(wrong) > 0 {
		return usagef("%s", strings.Join(unique(wrong), "\n  "))
	}
	_, err := fmt.Fprintln(s.stdout, "ok", firstOf(c.path, "(no file; --config names one)"))
	return err
}

// unique returns the lines in their order, each once: commands share flags.
func unique(lines []string) (kept []string) {
	for _, line := range lines {
		if !slices.Contains(kept, line) {
			kept = append(kept, line)
		}
	}
	return kept
}

type configShowCmd struct {
	Command []string `arg:"" optional:"" help:"Command to show; serve if not given."`
}

// Run writes the values as YAML for --config.
func (cmd configShowCmd) Run(s *session, app *kong.Kong, c *settings) error {
	node := app.Model.Node
	path := cmd.Command
	if len(path) == 0 {
		path = []string{"serve"}
	}
	for _, name := range path {
		child := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == name })
		if child < 0 {
			return usagef("there is no command %s; see streamhub --help", strings.Join(path, " "))
		}
		node = node.Children[child]
	}
	if len(node.Children) > 0 {
		var names []string
		for _, child := range node.Children {
			names = append(names, child.Name)
		}
		return usagef("%s is a group of commands: name one of them, %s", strings.Join(path, " "), strings.Join(names, ", "))
	}
	var b strings.Builder
	indent := ""
	for _, name := range path {
		b.WriteString(indent + name + ":\n")
		indent += "  "
	}
	for _, flag := range node.Flags {
		if variable(flag.Name) == "" || flag.Hidden {
			continue
		}
		text, from := c.value(node, flag)
		if from == fromDefault || c.displaced(nil, node, flag, from) {
			text, from = flag.Default, fromDefault
		}
		fmt.Fprintf(&b, "%s%s: %s # %s", indent, flag.Name, quoteYAML(hidden(flag.Name, text)), from)
		if from == fromEnvironment {
			fmt.Fprintf(&b, " $%s", variable(flag.Name))
		}
		b.WriteString("\n")
	}
	_, err := s.stdout.Write([]byte(b.String()))
	return err
}

// hidden returns a value with its secrets replaced.
func hidden(flag, text string) string {
	const secret = "xxxxx"
	if text == "" {
		return ""
	}
	if flag == "token" || strings.HasSuffix(flag, "-token") || strings.HasSuffix(flag, "-password") || strings.HasSuffix(flag, "-secret") {
		return secret
	}
	if !strings.Contains(text, "://") {
		return text
	}
	list := strings.Split(text, ",")
	for i, item := range list {
		u, err := url.Parse(item)
		if err != nil {
			return secret // the part that does not parse may be a password
		}
		query := u.Query()
		for name := range query {
			if strings.Contains(name, "password") || name == "sig" {
				query.Set(name, secret)
				u.RawQuery = query.Encode()
			}
		}
		list[i] = u.Redacted()
	}
	return strings.Join(list, ",")
}

// quoteYAML writes a text so that YAML reads it as the same text.
func quoteYAML(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}
