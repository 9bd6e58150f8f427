package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// variable returns the environment variable of a flag, "" for a flag that has none.
func variable(flag string) string {
	switch flag {
	case "help", "version":
		return ""
	case "redis":
		return redisVariable
	}
	return "STREAMHUB_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A source is where the value of a flag comes from. A greater one wins.
type source int

const (
	fromDefault source = iota
	fromFile
	fromEnvironment
	fromFlag
)

func (s source) String() string { return [...]string{"default", "file", "environment", "flag"}[s] }

// settings give flags that are not among the arguments their values: that of a variable, or else that
// of a file. They are a resolver of the parser.
type settings struct {
	getenv func(name string) string
	path   string               // of the file, "" without one
	file   map[string]yaml.Node // what it holds
}

// Validate is called by the parser before the arguments are known.
func (c *settings) Validate(*kong.Application) error { return nil }

// Resolve returns the value of a flag, nil if there is none.
func (c *settings) Resolve(call *kong.Context, at *kong.Path, flag *kong.Flag) (any, error) {
	node := at.Node()
	text, from := c.value(node, flag)
	if from == fromDefault || c.displaced(call, node, flag, from) {
		return nil, nil
	}
	return text, c.try(flag, text, from)
}

// displaced reports whether the arguments, or a closer source, name a flag that excludes this one.
func (c *settings) displaced(call *kong.Context, node *kong.Node, flag *kong.Flag, from source) bool {
	for _, other := range node.Flags {
		if other == flag || !slices.ContainsFunc(flag.Xor, func(group string) bool { return slices.Contains(other.Xor, group) }) {
			continue
		}
		_, theirs := c.value(node, other)
		if call != nil && given(call, other.Name) {
			theirs = fromFlag
		}
		if theirs > from || theirs == fromEnvironment && theirs == from && other.Name == "server" {
			return true
		}
	}
	return false
}

// try reports what is wrong with a value, under the name by which it was set.
func (c *settings) try(flag *kong.Flag, text string, from source) error {
	scratch := *flag.Value
	err := scratch.Parse(kong.Scan().PushTyped(text, kong.FlagValueToken), reflect.New(flag.Target.Type()).Elem())
	if err == nil && flag.Enum != "" && !flag.EnumMap()[text] {
		err = fmt.Errorf("%q is none of %s", text, flag.Enum)
	}
	switch {
	case err != nil && from == fromEnvironment:
		return fmt.Errorf("from $%s: %w", variable(flag.Name), err)
	case err != nil:
		return fmt.Errorf("from %s: %w", c.path, err)
	}
	return nil
}

// value returns what a variable or the file says of a flag of a command.
func (c *settings) value(node *kong.Node, flag *kong.Flag) (string, source) {
	name := variable(flag.Name)
	if name == "" {
		return "", fromDefault
	}
	if text := c.getenv(name); text != "" {
		return text, fromEnvironment
	}
	if text, ok := c.fileValue(node, flag.Name); ok && flag.Name != "config" {
		return text, fromFile
	}
	return "", fromDefault
}

// fileValue looks a flag up under the name of the command, and then among what is for all commands.
func (c *settings) fileValue(node *kong.Node, flag string) (string, bool) {
	var path []string
	for ; node != nil && node.Type == kong.CommandNode; node = node.Parent {
		path = append([]string{node.Name}, path...)
	}
	for n := len(path); n >= 0; n-- {
		keys := c.file
		for _, name := range path[:n] {
			below := map[string]yaml.Node{}
			if section, ok := keys[name]; ok && section.Kind == yaml.MappingNode {
				_ = section.Decode(&below) // load has done so before
			}
			keys = below
		}
		if value, ok := keys[flag]; ok && value.Kind != yaml.MappingNode && scalar(&value) != "" {
			return scalar(&value), true
		}
	}
	return "", false
}

// scalar returns a value as an argument has it; the items of a list are separated by commas.
func scalar(n *yaml.Node) string {
	if n.Kind != yaml.SequenceNode {
		return n.Value
	}
	var items []string
	for _, item := range n.Content {
		items = append(items, item.Value)
	}
	return strings.Join(items, ",")
}

// load reads the file. Keys that no command has are refused.
func (c *settings) load(app *kong.Application, path string) error {
	c.path = firstOf(path, c.getenv(variable("config")))
	if c.path == "" {
		return nil
	}
	text, err := os.ReadFile(c.path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	if err := yaml.Unmarshal(text, &c.file); err != nil {
		return fmt.Errorf("--config %s: %w", c.path, err)
	}
	if unknown, err := unknownKeys(app.Node, c.file, ""); err != nil || len(unknown) > 0 {
		return fmt.Errorf("--config %s: no command takes %s: a key is the name of a flag without its dashes, or a command with keys below", c.path, strings.Join(unknown, ", "))
	}
	return nil
}

// unknownKeys returns the keys that name neither a flag of node or of a command below it nor such a
// command, whose keys are looked at too.
func unknownKeys(node *kong.Node, keys map[string]yaml.Node, prefix string) (unknown []string, err error) {
	for key, value := range keys {
		if value.Kind != yaml.MappingNode {
			if !hasFlag(node, key) {
				unknown = append(unknown, prefix+key)
			}
			continue
		}
		child := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == key })
		if child < 0 {
			unknown = append(unknown, prefix+key)
			continue
		}
		below := map[string]yaml.Node{}
		if err := value.Decode(&below); err != nil {
			return append(unknown, prefix+key), err
		}
		more, err := unknownKeys(node.Children[child], below, prefix+key+".")
		if unknown = append(unknown, more...); err != nil {
			return unknown, err
		}
	}
	slices.Sort(unknown)
	return unknown, nil
}

// hasFlag reports whether node or a command below it has a flag that can be set.
func hasFlag(node *kong.Node, name string) bool {
	return name != "config" && variable(name) != "" &&
		slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return f.Name == name }) ||
		slices.ContainsFunc(node.Children, func(n *kong.Node) bool { return hasFlag(n, name) })
}

// BeforeResolve is called by the parser when it knows the arguments, before it asks the settings for
// the flags that are missing.
func (*commands) BeforeResolve(c *settings, app *kong.Kong, call *kong.Context) error {
	path := ""
	for _, flag := range app.Model.Flags {
		if flag.Name == "config" {
			path, _ = call.FlagValue(flag).(string)
		}
	}
	return c.load(app.Model, path)
}
