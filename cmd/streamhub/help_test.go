package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestExamples has every command show two examples that the program takes, and the defaults of its flags. They are the
// examples of docs/commands.md.
func TestExamples(t *testing.T) {
	t.Chdir(filepath.Dir(configFile(t, "")))
	parser, err := kong.New(&commands{}, kong.Name("streamhub"), kong.ValueFormatter(withDefault))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		var path []string
		for node := leaf; node.Type == kong.CommandNode; node = node.Parent {
			path = append([]string{node.Name}, path...)
		}
		r := good(t, nil, append([]string{"help"}, path...)...)
		if !strings.Contains(r.out, "Usage: streamhub") {
			t.Fatalf("help %v: %+v", path, r)
		}
		shown := 0
		for line := range strings.Lines(r.out) {
			line = strings.TrimSpace(line)
			command, ok := strings.CutPrefix(line, "streamhub ")
			if !ok {
				continue
			}
			shown++
			command, _, _ = strings.Cut(command, " >")
			if command == "--version" || strings.HasPrefix(command, "help") {
				continue // they end the parser
			}
			fresh, err := kong.New(&commands{}, kong.Name("streamhub"), kong.Bind(&settings{getenv: func(string) string { return "" }}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fresh.Parse(strings.Fields(command)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		if shown < 2 {
			t.Errorf("%v: %d examples in\n%s", path, shown, r.out)
		}
		for _, flag := range leaf.Flags {
			if flag.HasDefault && flag.Default != "" && !flag.IsBool() && !strings.Contains(withDefault(flag.Value), flag.Default) {
				t.Errorf("%v: --%s does not say %s", path, flag.Name, flag.Default)
			}
		}
	}
}

func TestHelpCommands(t *testing.T) {
	for args, want := range map[string]string{
		"version": "streamhub ", "help": "completion", "help live": "publish", "help live read": "--wait",
		"completion bash": "complete -o default", "completion zsh": "bashcompinit", "completion fish": "complete -c streamhub",
		"complete": "append\n", "complete -- live": "publish\n", "complete -- live read": "--from\n",
		"complete -- read --output": "raw\ntext\n", "complete -- completion": "fish\n", "complete -- help live": "publish\n", "complete -- config show live": "publish\n",
	} {
		if r := good(t, nil, strings.Fields(args)...); !strings.Contains(r.out, want) || r.err != "" {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if r := good(t, nil, "complete", "--", "read", "--output"); strings.Contains(r.out, "--") {
		t.Errorf("a flag where its value is to stand: %+v", r)
	}
	if r := call(t, nil); r.code != exitUsage || r.out != "" || !strings.Contains(r.err, "serve") {
		t.Errorf("without arguments: %+v", r)
	}
	for _, shell := range []string{"bash", "fish"} { // which the packages install
		packaged, err := os.ReadFile(filepath.Join("..", "..", "deploy", "package", "completion", shell))
		if err != nil || string(packaged) != good(t, nil, "completion", shell).out {
			t.Errorf("deploy/package/completion/%s is not what streamhub completion %s prints: %v", shell, shell, err)
		}
	}
	if r := call(t, nil, "completion", "csh"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}

// TestPlaces reaches a gateway by each of its names.
func TestPlaces(t *testing.T) {
	s := serve(t)
	host := strings.TrimPrefix(s.front, "http://")
	dead := "redis://127.0.0.1:1"
	for _, test := range []struct {
		args []string
		env  []string
	}{
		{[]string{"--server", "ws://" + host}, nil},
		{[]string{"--server", "http://" + host}, []string{serverVariable + "=ws://127.0.0.1:1"}},
		{nil, []string{serverVariable + "=http://" + host, redisVariable + "=" + dead}},
		{[]string{"--server", "http://127.0.0.1:1,http://" + host}, nil},
		{[]string{"--redis", s.redis()}, []string{serverVariable + "=ws://127.0.0.1:1"}},
	} {
		var out, failed strings.Builder
		args := append([]string{"append", "a/b"}, test.args...)
		if code := run(within(t), args, strings.NewReader("x\n"), &out, &failed, test.env); code != 0 {
			t.Errorf("%v: exit %d: %s", test, code, failed.String())
		}
	}
	good(t, strings.NewReader("1\n"), "live", "publish", "job", "--server", s.front)
}

// TestNothing tells what is empty from what never was, and shows no success where there was none.
func TestNothing(t *testing.T) {
	url, store := embedded(t)
	if _, _, err := store.Create(within(t), "made", "empty", nil); err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]int{"never": exitFailed, "never/was": exitFailed, "made": 0, "made/empty": 0, "made/never": exitFailed} {
		r := call(t, nil, "read", place, "--redis", url)
		if r.code != want || r.out != "" || want != 0 && !strings.Contains(r.err, "not found") || want == 0 && !strings.Contains(r.err, "keeps no entry") {
			t.Errorf("read %s: %+v", place, r)
		}
	}
	for _, args := range [][]string{{"append", "made/empty", "--expect", "7"}, {"append", "made/empty"}} {
		in := "x\n"
		if len(args) == 2 {
			in = ""
		}
		if r := call(t, strings.NewReader(in), append(args, "--redis", url)...); r.out != "" || in == "" && (r.code != 0 || !strings.Contains(r.err, "nothing was appended")) {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
