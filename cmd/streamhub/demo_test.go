package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A shown demo is what the page would see.
type shown struct {
	*program
	t   *testing.T
	url string
}

func showDemo(t *testing.T, env []string, args ...string) *shown {
	t.Helper()
	p := start(t, env, append([]string{"demo", "--listen", "127.0.0.1:0"}, args...)...)
	url, ok := strings.CutPrefix(p.line(), "open ")
	if !ok {
		t.Fatal("no address")
	}
	return &shown{p, t, strings.TrimSuffix(url, "/")}
}

func (d *shown) press(button string) {
	d.t.Helper()
	answer, err := http.Post(d.url+"/do/"+button, "", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		d.t.Fatalf("%s: %s", button, answer.Status)
	}
}

type demoState struct {
	Gateways []struct{ Up bool }
	Redis    struct{ Kind, State string }
	Answer   struct {
		ID, State       string
		Words, Producer int
	}
	Log []struct{ Text string }
}

func (d *shown) state() (s demoState) {
	d.t.Helper()
	_, text := get(d.t, d.url+"/state")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// says waits for a line of the log.
func (d *shown) says(text string) {
	d.t.Helper()
	until(d.t, text, func() bool {
		for _, l := range d.state().Log {
			if strings.Contains(l.Text, text) {
				return true
			}
		}
		return false
	})
}

// TestDemo has the buttons break everything, and demands that a reader who comes at the end gets the
// words that the last producer said, with the verdict, at both gateways.
func TestDemo(t *testing.T) {
	for name, env := range map[string][]string{
		"server":   nil,
		"embedded": {"PATH=" + t.TempDir(), "STREAMHUB_REDIS_SERVER="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// What sets flags of serve concerns another gateway.
			d := showDemo(t, append(env, "STREAMHUB_TLS_SELF_SIGNED=true", "STREAMHUB_ORIGIN=https://app.example"), "--words", "150", "--pause", "10ms")
			if kind := d.state().Redis.Kind; strings.HasPrefix(kind, "embedded") != (name == "embedded") {
				t.Error(kind)
			}
			d.says("producer 1 says words 1 ")
			d.press("kill-A")
			d.press("takeover")
			d.says("producer 2 says")
			d.says("producer 1 is refused from now on")
			d.press("kill-B")
			d.press("pause-redis")
			d.press("start-A")
			d.press("resume-redis")
			d.press("cut-1")
			d.press("restart-redis")
			d.press("start-B")
			d.says("gateway B started")
			d.says("producer 2 ends the answer: done")
			s := d.state()
			if !s.Gateways[0].Up || !s.Gateways[1].Up || s.Redis.State != "up" || s.Answer.Words != 150 || s.Answer.Producer != 2 {
				t.Errorf("%+v", s)
			}
			for pane := 1; pane <= 2; pane++ {
				code, text := get(t, fmt.Sprintf("%s/pane/%d/v1/live/%s", d.url, pane, s.Answer.ID))
				if code != http.StatusOK || !strings.Contains(text, "event: end\n") {
					t.Fatal(code, text)
				}
				next := 0
				lines := bufio.NewScanner(strings.NewReader(text))
				for lines.Scan() {
					var word struct{ N int }
					if body, ok := strings.CutPrefix(lines.Text(), `data:{"n"`); ok && json.Unmarshal([]byte(`{"n"`+body), &word) == nil {
						if next > 0 && word.N != next {
							t.Fatalf("word %d, want %d", word.N, next)
						}
						next = word.N + 1
					}
				}
				if next != 151 {
					t.Errorf("the last word was %d", next-1)
				}
			}
			d.press("ask")
			until(t, "another answer", func() bool { return d.state().Answer.State == "producing" })
			d.press("stop")
			d.says("producer 1 ends the answer: cancelled")

			d.signal(os.Interrupt)
			if out, code := d.rest(); out != "" || code != 0 {
				t.Error(out, code, d.err)
			}
		})
	}
}

// TestDemoPaused ends with a Redis that hangs.
func TestDemoPaused(t *testing.T) {
	d := showDemo(t, nil, "--words", "100000", "--pause", "1ms")
	d.press("pause-redis")
	d.says("Redis paused")
	d.signal(syscall.SIGTERM)
	if out, code := d.rest(); out != "" || code != 0 {
		t.Error(out, code, d.err)
	}
}

// TestDemoStrangers presses no button for pages of others.
func TestDemoStrangers(t *testing.T) {
	d := showDemo(t, nil)
	for _, edit := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		func(r *http.Request) { r.Host = "page.example" },
		func(r *http.Request) { r.URL.Path = "/do/kill-C" },
	} {
		r, err := http.NewRequest(http.MethodPost, d.url+"/do/kill-A", nil)
		if err != nil {
			t.Fatal(err)
		}
		edit(r)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode < 400 {
			t.Error(answer.Status)
		}
	}
	if s := d.state(); !s.Gateways[0].Up {
		t.Errorf("%+v", s)
	}
	d.signal(os.Interrupt) // it leaves nothing behind
	if _, code := d.rest(); code != 0 {
		t.Error(code, d.err)
	}
	if r := call(t, nil, "demo", "--listen", "0.0.0.0:0"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}
