package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// examples are the last part of a command's help, as they are typed.
func examples(lines ...string) string {
	return "Examples:\n\n    streamhub " + strings.Join(lines, "\n    streamhub ")
}

// Help returns the text that follows the flags of a command.
func (serveCmd) Help() string {
	return examples("serve --data ./data", "serve --redis redis://127.0.0.1:6379 --listen 127.0.0.1:8081 --admin-listen 127.0.0.1:9091")
}
func (appendCmd) Help() string {
	return examples("append logs/app --file app.log", "append orders/order-17 --expect 5 --server ws://127.0.0.1:8081")
}
func (readCmd) Help() string {
	return examples("read logs/app --follow", "read logs --output jsonl --limit 10")
}
func (watchCmd) Help() string {
	return examples("watch logs", "watch logs/app --redis redis://127.0.0.1:6379")
}
func (lsCmd) Help() string { return examples("ls", "ls logs -l") }
func (peekCmd) Help() string {
	return examples("peek logs/app", "peek logs/app --server wss://hub.example")
}
func (statusCmd) Help() string {
	return examples("status logs/app", "status logs/app --server wss://hub.example")
}
func (createCmd) Help() string {
	return examples("create logs/app", "create notes/today --content-type application/json --ttl 24h")
}
func (forkCmd) Help() string {
	return examples("fork logs/app logs/app-copy", "fork logs/app logs/experiment --at 17")
}
func (trimCmd) Help() string {
	return examples("trim logs/app --to 1000", "trim logs/app --to 1000 --yes --server wss://hub.example")
}
func (closeCmd) Help() string {
	return examples("close logs/app", "close jobs/job-17 --verdict failed --reason timeout")
}
func (expireCmd) Help() string { return examples("expire logs/app 36h", "expire logs/app 0") }
func (deleteCmd) Help() string {
	return examples("delete logs/app", "delete --store 7d444840-9dc0-11d1-b245-5ffdce74fad2 --yes")
}
func (leaseLsCmd) Help() string {
	return examples("lease ls", "lease ls --json --store 7d444840-9dc0-11d1-b245-5ffdce74fad2")
}
func (liveLsCmd) Help() string { return examples("live ls", "live ls --all --space chat") }
func (subscriptionsLsCmd) Help() string {
	return examples("subscriptions ls", "subscriptions ls --json --store 7d444840-9dc0-11d1-b245-5ffdce74fad2")
}
func (subscriptionsShowCmd) Help() string {
	return examples("subscriptions show hook", "subscriptions show hook --redis redis://127.0.0.1:6379")
}
func (subscriptionsRmCmd) Help() string {
	return examples("subscriptions rm hook", "subscriptions rm hook --yes --server wss://hub.example")
}
func (instancesCmd) Help() string {
	return examples("instances", "instances --json --server http://127.0.0.1:9090 --token ADMIN-TOKEN")
}
func (leaseRunCmd) Help() string {
	return examples("lease nightly-report -- ./report.sh", "lease nightly-report --wait 1m --ttl 30s -- ./report.sh --full")
}
func (workersCmd) Help() string { return examples("workers", "workers --json") }
func (livePublishCmd) Help() string {
	return examples("live publish answer-17", "live publish answer-17 --takeover --space chat")
}
func (liveReadCmd) Help() string {
	return examples("live read answer-17", "live read answer-17 --wait 30s")
}
func (liveCancelCmd) Help() string {
	return examples("live cancel answer-17 --reason enough", "live cancel answer-17 --no-wait")
}
func (liveStatusCmd) Help() string {
	return examples("live status answer-17", "live status answer-17 --space chat")
}
func (archiveRunCmd) Help() string {
	return examples("archive run --archive pebble:///var/lib/cold --redis redis://127.0.0.1:6379 --archive-age 1h --once",
		"archive run --archive azure://account/prefix --redis redis://127.0.0.1:6379 --archive-hot-bytes 64MiB")
}
func (archiveLsCmd) Help() string {
	return examples("archive ls --archive pebble:///var/lib/cold", "archive ls logs --archive azure://account/prefix")
}
func (archiveVerifyCmd) Help() string {
	return examples("archive verify --archive pebble:///var/lib/cold", "archive verify logs --archive azure://account/prefix")
}
func (importCmd) Help() string {
	return "The command reads a store of a running streamkit server over its own protocol and writes it to Redis, with timestamps, sequences, " +
		"TRX and metadata. A stored offset of ConsumeSpace then names the same entry. What the hub has already is compared first, so a run that was killed is " +
		"started again, and a space that holds something else is refused. After the last entry all is compared once more.\n\n" +
		examples("import ws://streamkit.example:8080 --redis redis://127.0.0.1:6379 --store 6f3c1d5e-8a52-4a57-9b0a-0d6d5a7f2c11", "import wss://streamkit.example orders --redis redis://127.0.0.1:6379 --until 2026-01-02T15:04:05Z")
}

func (archiveRestoreCmd) Help() string {
	return examples("archive restore --archive pebble:///var/lib/cold --redis redis://127.0.0.1:6379",
		"archive restore logs --archive azure://account/prefix --redis redis://127.0.0.1:6379")
}
func (doctorCmd) Help() string {
	return examples("doctor --redis redis://127.0.0.1:6379", "doctor --redis redis+cluster://127.0.0.1:7000")
}
func (benchCmd) Help() string {
	return examples("bench", "bench --redis redis://127.0.0.1:6379 --duration 30s --rate 1000 --json")
}

func (configCheckCmd) Help() string {
	return examples("config check", "config check --config streamhub.yaml")
}
func (configShowCmd) Help() string {
	return examples("config show", "config show append --config streamhub.yaml")
}

// withDefault names the default of a flag, unless the help does so.
func withDefault(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.HasDefault && v.Default != "" && !v.IsBool() && !strings.Contains(help, v.Default) {
		help = strings.TrimSuffix(help, ".") + "; " + v.Default + " if not given."
	}
	return help
}

// versionCmd is --version as a command.
type versionCmd struct{}

// Run writes the version.
func (versionCmd) Run(s *session) error {
	_, err := fmt.Fprintln(s.stdout, "streamhub", versionText())
	return err
}
func (versionCmd) Help() string { return examples("version", "--version") }

// helpCmd stands for --help of the command that it names; run looks for it.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"Command to explain."`
}

func (helpCmd) Help() string { return examples("help", "help live read") }

// asked returns args with the command help as the flag.
func asked(args []string) []string {
	if len(args) > 0 && args[0] == "help" && !slices.Contains(args, "--help") {
		return append(slices.Clone(args[1:]), "--help")
	}
	return args
}

// completionCmd writes a script for a shell, which asks the program for what can come next.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

const bashCompletion = `_streamhub() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(streamhub complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}")" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _streamhub streamhub
`

// Run writes the script.
func (c completionCmd) Run(s *session) error {
	script := bashCompletion
	switch c.Shell {
	case "zsh":
		script = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n" + script
	case "fish":
		script = "complete -c streamhub -a '(streamhub complete -- (commandline -opc)[2..-1])'\n"
	}
	_, err := s.stdout.Write([]byte(script))
	return err
}
func (completionCmd) Help() string {
	return examples("completion bash >> ~/.bashrc", "completion fish > ~/.config/fish/completions/streamhub.fish")
}

// completeCmd writes the candidates that can follow some words, for the scripts of [completionCmd].
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run writes one candidate a line.
func (c completeCmd) Run(s *session, app *kong.Kong) error {
	node := app.Model.Node
	words, last := c.Words, ""
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	// These words are followed by a command.
	if len(words) > 0 && words[0] == "help" {
		words = words[1:]
	} else if len(words) > 1 && words[0] == "config" && words[1] == "show" {
		words = words[2:]
	}
	for _, word := range words {
		for _, child := range node.Children {
			if child.Name == word {
				node = child
				break
			}
		}
	}
	var lines []string
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			if "--"+flag.Name == last && !flag.IsBool() {
				return c.write(s, values(flag.Value)) // the next word is one of the values
			}
		}
	}
	for _, argument := range node.Positional {
		lines = append(lines, values(argument)...)
	}
	for _, child := range node.Children {
		if !child.Hidden {
			lines = append(lines, child.Name)
		}
	}
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			lines = append(lines, "--"+flag.Name)
		}
	}
	return c.write(s, lines)
}

// values returns the possible values of a flag or an argument, if they are known.
func values(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

func (completeCmd) write(s *session, lines []string) error {
	_, err := s.stdout.Write([]byte(strings.Join(lines, "\n") + "\n"))
	return err
}
