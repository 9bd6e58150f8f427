package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
)

const prometheusDir = "../../deploy/prometheus"

// expressions returns what the dashboard and the alerts ask Prometheus for, by where it is asked.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query string
			}
		}
	}
	text, err := os.ReadFile("../../deploy/grafana/streamhub.json")
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all[panel.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, variable := range dashboard.Templating.List {
		if strings.HasPrefix(variable.Query, "label_values(") {
			all["variable "+variable.Name] = strings.TrimPrefix(variable.Query, "label_values")
		}
	}
	for _, rule := range alerts(t) {
		all["alert "+rule.Alert] = rule.Expr
	}
	if len(all) < 40 {
		t.Fatalf("only %d expressions", len(all))
	}
	return all
}

type alert struct {
	Alert, Expr string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	text, err := os.ReadFile(filepath.Join(prometheusDir, "alerts.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

var (
	metricName   = regexp.MustCompile(`\b(?:streamhub|process|go)_[a-z_]+\b`)
	selector     = regexp.MustCompile(`\b((?:streamhub|process|go)_[a-z_]+)\{([^}]*)\}`)
	matcherLabel = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	grouping     = regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
)

// TestSeries scrapes a real serve and finds every series of the dashboard and of the alerts, with every label.
func TestSeries(t *testing.T) {
	s := busyServe(t)
	// What follows and what is archived shows up by and by.
	labels := map[string]map[string]bool{}
	all := expressions(t)
	var missing []string
	until(t, "every series", func() bool {
		labels = scrape(t, s.admin+"/metrics")
		missing = missing[:0]
		for where, expr := range all {
			for _, name := range metricName.FindAllString(expr, -1) {
				if labels[name] == nil {
					missing = append(missing, where+": "+name)
				}
			}
		}
		slices.Sort(missing)
		return len(missing) == 0 || t.Context().Err() != nil
	})
	if len(missing) > 0 {
		t.Fatalf("in no scrape:\n%s", strings.Join(missing, "\n"))
	}
	// Prometheus adds these itself.
	added := []string{"job", "instance"}
	for where, expr := range all {
		for _, m := range selector.FindAllStringSubmatch(expr, -1) {
			for _, label := range matcherLabel.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(added, label[1]) && !labels[m[1]][label[1]] {
					t.Errorf("%s: %s has no label %s", where, m[1], label[1])
				}
			}
		}
		for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(m[1], ",") {
				label = strings.TrimSpace(label)
				if slices.Contains(added, label) {
					continue
				}
				if !slices.ContainsFunc(metricName.FindAllString(expr, -1), func(name string) bool { return labels[name][label] }) {
					t.Errorf("%s: nothing has the label %s", where, label)
				}
			}
		}
	}
}

// scrape returns the names of the series of a gateway, each with its labels.
func scrape(t *testing.T, url string) map[string]map[string]bool {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", response.Status, err)
	}
	sample := regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? \S+$`)
	label := regexp.MustCompile(`(\w+)="`)
	found := map[string]map[string]bool{}
	for _, m := range sample.FindAllStringSubmatch(string(text), -1) {
		if found[m[1]] == nil {
			found[m[1]] = map[string]bool{}
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			found[m[1]][l[1]] = true
		}
	}
	return found
}

// TestRunbooks has an entry for each alert, and no entry without one.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, rule := range alerts(t) {
		want = append(want, rule.Alert)
		if url := rule.Annotations["runbook_url"]; !strings.HasSuffix(url, "/docs/operations.md#"+strings.ToLower(rule.Alert)) {
			t.Errorf("%s leads to %q", rule.Alert, url)
		}
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^### (Streamhub\w+)$`).FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("runbooks %q\nalerts   %q", got, want)
	}
}

// TestAlerts has Prometheus itself check every expression, and try the alerts.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("STREAMHUB_REQUIRE_PROMTOOL") != "" {
			t.Fatal("no promtool: scripts/need-promtool installs it")
		}
		t.Skip("no promtool: install Debian's package prometheus")
	}
	tool := func(args ...string) {
		t.Helper()
		cmd := exec.Command(promtool, args...)
		cmd.Dir = prometheusDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	tool("check", "config", "prometheus.yml")
	tool("test", "rules", "alerts_test.yaml")

	// The dashboard as rules: its expressions parse, too.
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for where, expr := range expressions(t) {
		if strings.HasPrefix(where, "alert ") || strings.HasPrefix(where, "variable ") {
			continue
		}
		expr = strings.NewReplacer("$__rate_interval", "5m", "$job", "streamhub", "$instance", ".*").Replace(expr)
		n++
		fmt.Fprintf(&rules, "  - record: panel:%d\n    expr: %q\n", n, expr)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	tool("check", "rules", path)

	tests, err := os.ReadFile(filepath.Join(prometheusDir, "alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range alerts(t) {
		name := regexp.QuoteMeta(rule.Alert)
		for _, pattern := range []string{`alertname: ` + name + `\n        exp_alerts: \[\]`, `alertname: ` + name + `\n        exp_alerts:\n`} {
			if !regexp.MustCompile(pattern).Match(tests) {
				t.Errorf("%s: no test %q", rule.Alert, pattern)
			}
		}
	}
}

// busyServe starts a gateway that has appended, read, refused, followed and archived.
func busyServe(t *testing.T) *served {
	t.Helper()
	s := serve(t, "--archive", "pebble://"+t.TempDir())
	good(t, strings.NewReader("1\n2\n"), "append", "a/b", "--server", s.ws())
	good(t, nil, "read", "a/b", "--server", s.ws())
	if r := call(t, strings.NewReader("3\n"), "append", "a/b", "--expect", "9", "--server", s.ws()); r.code != exitConflict {
		t.Fatalf("%+v", r)
	}
	follower := start(t, nil, "read", "a/b", "--follow", "--server", s.ws())
	follower.line()
	t.Cleanup(func() {
		follower.signal(syscall.SIGTERM)
		follower.wait()
	})
	return s
}
