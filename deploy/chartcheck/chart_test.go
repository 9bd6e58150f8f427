package chartcheck

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/strvals"
	"sigs.k8s.io/kubectl-validate/pkg/openapiclient"
	"sigs.k8s.io/kubectl-validate/pkg/utils"
	"sigs.k8s.io/kubectl-validate/pkg/validator"
	"sigs.k8s.io/yaml"
)

const (
	chartDir = "../helm/streamhub"
	plainDir = "../kubernetes"
	// kubernetes is the version whose schemas count, the oldest one that the chart takes.
	kubernetes = "1.30"
)

// TestMain silences Helm, which logs each symbolic link that it follows.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

var update = flag.Bool("update", false, "rewrite the plain manifests")

// A manifest is one rendered object.
type manifest struct {
	template string
	text     []byte
}

func (m manifest) head(t *testing.T) (head struct {
	Kind     string
	Metadata struct{ Name string }
}) {
	t.Helper()
	if err := yaml.Unmarshal(m.text, &head); err != nil {
		t.Fatal(err)
	}
	return head
}

// variant reads the values of variants/NAME.yaml.
func variant(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("variants", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// render does what helm template does.
func render(values map[string]any) ([]manifest, error) {
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	version, err := chartutil.ParseKubeVersion("v" + kubernetes + ".0")
	if err != nil {
		return nil, err
	}
	capabilities.KubeVersion = *version
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "streamhub", Namespace: "streams", IsInstall: true}, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return nil, err
	}
	var list []manifest
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		documents, err := utils.SplitYamlDocuments([]byte(files[name]))
		if err != nil {
			return nil, err
		}
		for _, document := range documents {
			if !utils.IsEmptyYamlDocument(document) {
				list = append(list, manifest{filepath.Base(name), bytes.TrimSpace(document)})
			}
		}
	}
	return list, nil
}

// check validates one object: against the schemas of Kubernetes, or as the type that the Prometheus operator reads.
func check(v *validator.Validator, m manifest) error {
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(m.text, &head); err != nil {
		return err
	}
	if strings.HasPrefix(head.APIVersion, "monitoring.coreos.com/") {
		switch head.Kind {
		case monitoring.ServiceMonitorsKind:
			return yaml.UnmarshalStrict(m.text, &monitoring.ServiceMonitor{})
		case monitoring.PrometheusRuleKind:
			return yaml.UnmarshalStrict(m.text, &monitoring.PrometheusRule{})
		}
		return fmt.Errorf("no type for %s", head.Kind)
	}
	_, object, err := v.Parse(m.text)
	if err != nil {
		return err
	}
	return v.Validate(object)
}

func newValidator(t *testing.T) *validator.Validator {
	t.Helper()
	v, err := validator.New(openapiclient.NewOverlay(
		openapiclient.HardcodedPatchLoader(kubernetes), openapiclient.NewHardcodedBuiltins(kubernetes)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func variants(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("variants/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %v", files, err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".yaml")
	}
	return files
}

// TestVariants validates every object of every variant, and that each says what it is there for.
func TestVariants(t *testing.T) {
	v := newValidator(t)
	kinds := map[string]string{}
	for _, name := range variants(t) {
		list, err := render(variant(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var names []string
		for _, m := range list {
			if err := check(v, m); err != nil {
				t.Errorf("%s: %s: %v\n%s", name, m.template, err, m.text)
			}
			names = append(names, m.head(t).Kind)
		}
		slices.Sort(names)
		kinds[name] = strings.Join(names, " ")
	}
	const base = "ConfigMap Deployment PodDisruptionBudget Service Service ServiceAccount"
	want := map[string]string{
		"default":     base,
		"jwks":        base,
		"archive":     base,
		"tls":         base,
		"monitoring":  "ConfigMap ConfigMap Deployment PodDisruptionBudget PrometheusRule Service Service ServiceAccount ServiceMonitor",
		"autoscaling": "ConfigMap Deployment HorizontalPodAutoscaler PodDisruptionBudget Service Service ServiceAccount",
		"laptop":      "ConfigMap Deployment Ingress NetworkPolicy Service Service",
	}
	if !maps.Equal(kinds, want) {
		t.Errorf("%q\nwant %q", kinds, want)
	}
}

// TestMistyped fails for a field with a wrong name or a wrong kind of value, in every object.
func TestMistyped(t *testing.T) {
	v := newValidator(t)
	seen := map[string]bool{}
	for _, name := range variants(t) {
		list, err := render(variant(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			kind := m.head(t).Kind
			if seen[kind] {
				continue
			}
			seen[kind] = true
			part := "spec"
			if !bytes.Contains(m.text, []byte("\nspec:")) {
				part = "metadata"
			}
			for _, wrong := range []string{"mistyped: true", "labels: 17"} {
				if part == "spec" && wrong == "labels: 17" {
					continue
				}
				text := strings.Replace(string(m.text), part+":\n", part+":\n  "+wrong+"\n", 1)
				if text == string(m.text) {
					text = strings.Replace(text, part+":", part+":\n  "+wrong, 1)
				}
				if err := check(v, manifest{m.template, []byte(text)}); err == nil {
					t.Errorf("%s: %s in %s passes", kind, wrong, part)
				}
			}
		}
	}
	for _, kind := range []string{"Deployment", "Service", "ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "Ingress"} {
		if !seen[kind] {
			t.Errorf("no %s", kind)
		}
	}
	list, err := render(nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(m manifest) bool { return m.head(t).Kind == "Deployment" })
	for right, wrong := range map[string]string{
		"readinessProbe:": "readynessProbe:", "terminationGracePeriodSeconds: 30": "terminationGracePeriodSeconds: soon",
		"runAsNonRoot: true": "runAsNonRoot: certainly", "containerPort: 8080": "containerport: 8080",
	} {
		text := strings.Replace(string(list[i].text), right, wrong, 1)
		if text == string(list[i].text) {
			t.Errorf("no %s", right)
		}
		if err := check(v, manifest{text: []byte(text)}); err == nil {
			t.Errorf("%s passes", wrong)
		}
	}
}

// TestValues refuses values that the chart does not know.
func TestValues(t *testing.T) {
	for _, values := range []string{"replica: 3", "image: {tagg: x}", "antiAffinity: sometimes", "replicas: three", "secret: {keys: {adminTokens: x}}"} {
		parsed := map[string]any{}
		if err := yaml.Unmarshal([]byte(values), &parsed); err != nil {
			t.Fatal(err)
		}
		if _, err := render(parsed); err == nil {
			t.Errorf("%s passes", values)
		}
	}
}

// TestConfiguration hands what each variant renders to the program.
func TestConfiguration(t *testing.T) {
	program := filepath.Join(t.TempDir(), "streamhub")
	build := exec.Command("go", "build", "-o", program, "./cmd/streamhub")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range variants(t) {
		list, err := render(variant(t, name))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(m manifest) bool { return m.template == "configmap.yaml" })
		var config struct{ Data map[string]string }
		if err := yaml.Unmarshal(list[i].text, &config); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "streamhub.yaml")
		if err := os.WriteFile(path, []byte(config.Data["streamhub.yaml"]), 0o600); err != nil {
			t.Fatal(err)
		}
		check := exec.Command(program, "config", "check", "--config", path)
		check.Env = []string{}
		if out, err := check.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok ") {
			t.Errorf("%s: %v\n%s\n%s", name, err, out, config.Data["streamhub.yaml"])
		}
	}
}

// TestDocumented has every variant in the document, and no other.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range variants(t) {
		if !strings.Contains(string(text), "variants/"+name+".yaml") {
			t.Errorf("docs/kubernetes.md does not name variants/%s.yaml", name)
		}
	}
}

// TestDocumentedCommands has what docs/kubernetes.md prints fit the chart: the keys of the Secret, the values of the
// installation, the manifest that is applied, the ingress, and the series that pods are scaled by.
func TestDocumentedCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(?:sh|yaml) deploy/chartcheck/chart_test.go\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 5 {
		t.Fatalf("%d blocks", len(blocks))
	}
	secret, install, apply, rules, ingress := blocks[0][1], blocks[1][1], blocks[2][1], blocks[3][1], blocks[4][1]
	plain, err := os.ReadFile(filepath.Join(plainDir, "streamhub.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var made, wanted []string
	for _, m := range regexp.MustCompile(`--from-literal=([a-z-]+)=`).FindAllStringSubmatch(secret, -1) {
		made = append(made, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^ *(?:- )?key: ([a-z-]+)$`).FindAllSubmatch(plain, -1) {
		wanted = append(wanted, string(m[1]))
	}
	if slices.Sort(made); !slices.Equal(made, slices.Sorted(slices.Values(wanted))) {
		t.Errorf("the Secret has %q, the pods want %q", made, wanted)
	}

	v := newValidator(t)
	values := map[string]any{}
	for _, m := range regexp.MustCompile(`--set (\S+)`).FindAllStringSubmatch(install, -1) {
		if err := strvals.ParseInto(m[1], values); err != nil {
			t.Fatal(err)
		}
	}
	if len(values) != 2 || !strings.Contains(install, " deploy/helm/streamhub ") {
		t.Errorf("%v in %s", values, install)
	}
	wants(t, v, values, "Deployment")
	more := variant(t, "default")
	if err := yaml.UnmarshalStrict([]byte(ingress), &more); err != nil {
		t.Fatal(err)
	}
	wants(t, v, more, "Ingress")

	_, file, _ := strings.Cut(strings.TrimSpace(apply), "--filename ")
	if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
		t.Error(err)
	}
	var adapter struct {
		Rules struct {
			Custom []struct{ SeriesQuery string }
		}
	}
	if err := yaml.Unmarshal([]byte(rules), &adapter); err != nil || len(adapter.Rules.Custom) != 1 {
		t.Fatalf("%+v, %v", adapter, err)
	}
	autoscaling, err := os.ReadFile(filepath.Join(plainDir, "autoscaling.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if series, _, _ := strings.Cut(adapter.Rules.Custom[0].SeriesQuery, "{"); !strings.Contains(string(autoscaling), "name: "+series+"\n") {
		t.Errorf("pods are not scaled by %s", series)
	}
}

// wants demands that the chart renders with some values, and gives an object of a kind that is valid.
func wants(t *testing.T, v *validator.Validator, values map[string]any, kind string) {
	t.Helper()
	list, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list, func(m manifest) bool { return m.head(t).Kind == kind }) {
		t.Errorf("%v gives no %s", values, kind)
	}
	for _, m := range list {
		if err := check(v, m); err != nil {
			t.Errorf("%s: %v", m.template, err)
		}
	}
}

// TestPlain compares the plain manifests with what the chart renders; -update rewrites them.
func TestPlain(t *testing.T) {
	v := newValidator(t)
	for file, name := range map[string]string{"streamhub.yaml": "default", "autoscaling.yaml": "autoscaling", "monitoring.yaml": "monitoring"} {
		list, err := render(variant(t, name))
		if err != nil {
			t.Fatal(err)
		}
		only := map[string][]string{"autoscaling.yaml": {"HorizontalPodAutoscaler"}, "monitoring.yaml": {"ServiceMonitor", "PrometheusRule"}}[file]
		var b bytes.Buffer
		fmt.Fprintf(&b, "# Rendered from deploy/helm/streamhub, for those who do without Helm: do not edit.\n# cd deploy/chartcheck && go test -run TestPlain -update\n")
		for _, m := range list {
			if only != nil && !slices.Contains(only, m.head(t).Kind) {
				continue
			}
			var kept []string
			for line := range strings.SplitSeq(string(m.text), "\n") {
				if !strings.Contains(line, "helm.sh/chart:") && !strings.Contains(line, "app.kubernetes.io/managed-by:") && !strings.HasPrefix(line, "# Source:") {
					kept = append(kept, line)
				}
			}
			fmt.Fprintf(&b, "---\n%s\n", strings.Join(kept, "\n"))
			if err := check(v, manifest{m.template, []byte(strings.Join(kept, "\n"))}); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		path := filepath.Join(plainDir, file)
		if *update {
			if err := errors.Join(os.MkdirAll(plainDir, 0o755), os.WriteFile(path, b.Bytes(), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if is, err := os.ReadFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) || !bytes.Equal(is, b.Bytes()) {
			t.Errorf("%s is not what the chart renders (%v): go test -run TestPlain -update", path, err)
		}
	}
}
