package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
		if !exclude(flag, other) {
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

// exclude reports whether two flags cannot be given together.
func exclude(a, b *kong.Flag) bool {
	return a != b && slices.ContainsFunc(a.Xor, func(group string) bool { return slices.Contains(b.Xor, group) })
}

// rivals names the flags of a command that exclude each other although one source sets both.
func (c *settings) rivals(node *kong.Node) (wrong []string) {
	for i, flag := range node.Flags {
		_, from := c.value(node, flag)
		for _, other := range node.Flags[i+1:] {
			_, theirs := c.value(node, other)
			if from != fromDefault && from == theirs && exclude(flag, other) && !c.displaced(nil, node, flag, from) && !c.displaced(nil, node, other, from) {
				wrong = append(wrong, fmt.Sprintf("--%s and --%s exclude each other, and the %s has both", flag.Name, other.Name, from))
			}
		}
	}
	return wrong
}

// try reports what is wrong with a value, under the name by which it was set.
func (c *settings) try(flag *kong.Flag, text string, from source) error {
	scratch := *flag.Value
	err := scratch.Parse(kong.Scan().PushTyped(text, kong.FlagValueToken), reflect.New(flag.Target.Type()).Elem())
	if err == nil && flag.Enum != "" && !flag.EnumMap()[text] {
		err = fmt.Errorf("%q is none of %s", text, flag.Enum)
	}
	if err == nil {
		return nil
	}
	source := c.path
	if from == fromEnvironment {
		source = "$" + variable(flag.Name)
	}
	// The parser names the flag once more.
	return fmt.Errorf("from %s: %s", source, strings.TrimPrefix(err.Error(), "--"+flag.Name+": "))
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
			if section, ok := keys[name]; ok && resolved(&section).Kind == yaml.MappingNode {
				_ = section.Decode(&below) // load has done so before
			}
			keys = below
		}
		if value, ok := keys[flag]; ok && resolved(&value).Kind != yaml.MappingNode && scalar(&value) != "" {
			return scalar(&value), true
		}
	}
	return "", false
}

// resolved is what an alias stands for, or n itself.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// none reports whether a key has no value: all that was below it is commented out, say.
func none(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// scalar returns a value as an argument has it; the items of a list are separated by commas.
func scalar(n *yaml.Node) string {
	n = resolved(n)
	switch {
	case none(n):
		return ""
	case n.Kind != yaml.SequenceNode:
		return n.Value
	}
	var items []string
	for _, item := range n.Content {
		items = append(items, scalar(item))
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
	var document, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("--config %s: %w", c.path, err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) && (err != nil || !none(second.Content[0])) {
		return fmt.Errorf("--config %s: it has several documents, separated by ---: want one", c.path)
	}
	if len(document.Content) > 0 && document.Content[0].Kind != yaml.MappingNode && !none(document.Content[0]) {
		return fmt.Errorf("--config %s: want keys with values, \"listen: 127.0.0.1:8080\" say", c.path)
	}
	if err := document.Decode(&c.file); err != nil {
		return fmt.Errorf("--config %s: %w", c.path, err)
	}
	wrong, err := wrongKeys(app.Node, c.file, "")
	if err != nil {
		return fmt.Errorf("--config %s: %w", c.path, err)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("--config %s: %s: a key is the name of a flag without its dashes, or a command with keys below", c.path, strings.Join(wrong, ", "))
	}
	return nil
}

// wrongKeys says what is wrong with keys. Each has to name a flag of node, one of a command below it, or such a command,
// whose keys are looked at too. A flag has a value and a command has keys.
func wrongKeys(node *kong.Node, keys map[string]yaml.Node, prefix string) (wrong []string, err error) {
	for key, value := range keys {
		child := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == key })
		flag, section := hasFlag(node, key), resolved(&value).Kind == yaml.MappingNode
		switch {
		case !flag && child < 0:
			wrong = append(wrong, "no command takes "+prefix+key)
		case none(&value): // as if the key were not there
		case section && child < 0:
			wrong = append(wrong, prefix+key+" is a flag, which has a value and no keys below")
		case !section && !flag:
			wrong = append(wrong, prefix+key+" is a command, which has keys below and no value")
		case section:
			below := map[string]yaml.Node{}
			if err := value.Decode(&below); err != nil {
				return nil, fmt.Errorf("%s%s: %w", prefix, key, err)
			}
			more, err := wrongKeys(node.Children[child], below, prefix+key+".")
			if err != nil {
				return nil, err
			}
			wrong = append(wrong, more...)
		}
	}
	slices.Sort(wrong)
	return wrong, nil
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
	if n := call.Selected(); n != nil && len(n.Flags) == 0 && n.Parent == app.Model.Node {
		return nil // version and completion take nothing of a file that may be broken
	}
	path := ""
	for _, flag := range app.Model.Flags {
		if flag.Name == "config" {
			path, _ = call.FlagValue(flag).(string)
		}
	}
	return c.load(app.Model, path)
}
