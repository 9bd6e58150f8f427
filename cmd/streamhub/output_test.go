package main

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-147127fe/streamhub"
)

// TestLsTables lists with -l and as JSON.
func TestLsTables(t *testing.T) {
	url, store := embedded(t)
	good(t, strings.NewReader("1\n2\n3\n"), "append", "a/log", "--batch", "1", "--redis", url)
	good(t, nil, "create", "a/made", "--content-type", "text/plain", "--ttl", "1h", "--redis", url)
	good(t, nil, "trim", "a/log", "--to", "1", "--yes", "--redis", url)
	good(t, nil, "close", "a/log", "--redis", url)
	if r := call(t, nil, "close", "a/log", "--redis", url); r.code != exitFailed || !strings.Contains(r.err, "was closed before, as done") {
		t.Errorf("closed twice: %+v", r)
	}
	good(t, strings.NewReader("x\n"), "append", "b/new\nline", "--redis", url)
	for args, want := range map[string]string{
		"ls a -l": `SEGMENT  ENTRIES  FIRST  LAST  AGE +STATE          EXPIRES IN  CONTENT TYPE
log            2      2     3  \d+s +closed \(done\)
made           0      0     0  \d+s +open           (1h0m|59m) +text/plain
`,
		"ls -l":        "SPACE  SEGMENTS\na             2\nb             1\n",
		"ls --json":    "{\"space\":\"a\"}\n{\"space\":\"b\"}\n",
		"ls b --json":  `{"space":"b","segment":"new\\nline"}` + "\n",
		"ls -l --json": "{\"space\":\"a\",\"segments\":2}\n{\"space\":\"b\",\"segments\":1}\n",
		"ls b -l":      `(?s)SEGMENT .*\n"new\\nline" +1 .*`,
	} {
		r := good(t, nil, append(strings.Fields(args), "--redis", url)...)
		if !regexp.MustCompile("^" + want + "$").MatchString(r.out) {
			t.Errorf("%s:\n%s\nwant\n%s", args, r.out, want)
		}
	}
	r := good(t, nil, "ls", "a", "-l", "--json", "--redis", url)
	first, _, _ := strings.Cut(r.out, "\n")
	var status streamhub.Status
	if err := json.Unmarshal([]byte(first), &status); err != nil || status.LastSequence != 3 || status.Verdict == nil {
		t.Errorf("%s: %v", r.out, err)
	}
	for args, says := range map[string]string{"ls never": "no segments", "ls never -l": "no segments", "ls -l --store 11111111-1111-1111-1111-111111111111": "no spaces"} {
		if r := good(t, nil, append(strings.Fields(args), "--redis", url)...); r.out != "" || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	// Many more than are asked for at a time.
	for i := range 3*statusesAtOnce + 5 {
		if _, _, err := store.Create(within(t), "many", strconv.Itoa(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if r := good(t, nil, "ls", "many", "-l", "--redis", url); strings.Count(r.out, "\n") != 3*statusesAtOnce+6 {
		t.Errorf("%d lines", strings.Count(r.out, "\n"))
	}
}

func TestShortDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 1400 * time.Millisecond: "1s", 90 * time.Second: "2m", 59*time.Minute + 50*time.Second: "1h0m",
		3*time.Hour + 5*time.Minute: "3h5m", 50 * time.Hour: "2d2h",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestReadOutputs reads text and bytes in every form, and appends again what JSON has of them.
func TestReadOutputs(t *testing.T) {
	url, _ := embedded(t)
	good(t, strings.NewReader("h\u00e9 <&>\n\xff\x00\n\ntab\there"), "append", "a/b", "--redis", url)
	r := good(t, nil, "read", "a/b", "--output", "json", "--redis", url)
	lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	for i, want := range []string{`"metadata":{},"text":"hé <&>","cursor":"`, `"metadata":{},"payload":"/wA=","cursor":"`, `"metadata":{},"text":"","cursor":"`, `"metadata":{"eol":"none"},"text":"tab\there","cursor":"`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("%s, want %s", lines[i], want)
		}
	}
	if same := good(t, nil, "read", "a/b", "--json", "--redis", url); same.out != r.out {
		t.Errorf("%s", same.out)
	}
	jsonl := good(t, nil, "read", "a/b", "--output", "jsonl", "--redis", url)
	if !strings.Contains(jsonl.out, `"metadata":{},"payload":"","cursor":"`) || strings.Contains(jsonl.out, `"text"`) {
		t.Errorf("%s", jsonl.out)
	}
	people := good(t, nil, "read", "a/b", "--output", "text", "--redis", url)
	want := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  a/b  1  hé <&>
\S+ \S+  a/b  2  "\\xff\\x00"
\S+ \S+  a/b  3  
\S+ \S+  a/b  4  "tab\\there"  eol=none
$`)
	if !want.MatchString(people.out) {
		t.Errorf("%s", people.out)
	}
	raw := good(t, nil, "read", "a/b", "--redis", url)
	for i, form := range []result{r, jsonl} {
		to := []string{"c/d", "c/e"}[i]
		good(t, strings.NewReader(form.out), "append", to, "--json", "--redis", url)
		if copied := good(t, nil, "read", to, "--redis", url); copied.out != raw.out {
			t.Errorf("%q, want %q", copied.out, raw.out)
		}
	}
	big := `{"text":"` + strings.Repeat(`\u0000`, maxRecord) + `"}`
	for _, test := range []struct {
		in, says string
		code     int
	}{
		{`{"text":"a"}` + "\n\n" + `{"text":"b","sequence":7}`, "", 0},
		{`{"text":"a"}` + "\n{}\n", "line 2", exitFailed},
		{`{"text":"a","payload":""}`, "line 1", exitFailed},
		{`{"text":"a"}` + "\n{", "line 2", exitFailed},
		{`{"payload":"%"}`, "line 1", exitFailed},
		{`{"text":1}`, "line 1: number in the place of text;", exitFailed},
		{`[]`, "line 1: array in the place of an object;", exitFailed},
		{big, "", 0},
		{strings.Replace(big, `"}`, `\u0000"}`, 1), "longer than a record", exitFailed},
	} {
		r := call(t, strings.NewReader(test.in), "append", fresh("c/x"), "--json", "--redis", url)
		if r.code != test.code || !strings.Contains(r.err, test.says) {
			t.Errorf("%.40s: exit %d, %s", test.in, r.code, r.err)
		}
	}
	if r := call(t, nil, "read", "a/b", "--json", "--output", "jsonl", "--redis", url); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}
