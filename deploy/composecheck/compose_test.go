package composecheck

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const root = "../.."

var gateways = []string{"gateway1", "gateway2"}

func load(t *testing.T, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithEnv(env), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// option returns the value of --name value or --name=value.
func option(command []string, name string) (string, bool) {
	for i, arg := range command {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return value, true
		}
		if arg == "--"+name && i+1 < len(command) {
			return command[i+1], true
		}
	}
	return "", false
}

func TestServices(t *testing.T) {
	got := load(t).ServiceNames()
	want := append([]string{"azurite", "grafana", "prometheus", "proxy", "redis"}, gateways...)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
}

// published are the services that the host reaches.
var published = map[string]bool{"proxy": true, "prometheus": true, "grafana": true}

// TestProfiles starts what watches only where it is asked for.
func TestProfiles(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		watches := name == "prometheus" || name == "grafana"
		if watches != slices.Equal(s.Profiles, []string{"monitoring"}) {
			t.Errorf("%s has the profiles %v", name, s.Profiles)
		}
	}
}

// TestMonitoring has Prometheus scrape every gateway, and every file that is mounted exist.
func TestMonitoring(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if info, err := os.Stat(v.Source); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s mounts %s: %v", name, v.Source, err)
			}
		}
	}
	config, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range gateways {
		admin, ok := option(service(t, p, name).Command, "admin-listen")
		_, port, _ := strings.Cut(admin, ":")
		if !ok || !strings.Contains(string(config), name+":"+port) {
			t.Errorf("Prometheus does not scrape %s:%s", name, port)
		}
	}
	if !strings.Contains(string(config), "job_name: streamhub\n") {
		t.Error("the alerts want the job streamhub")
	}
}

// TestHealthcheck runs the command of the image against servers that are well and not.
func TestHealthcheck(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)HEALTHCHECK .*?\n\tCMD (\[.*?\])\n`).FindSubmatch(file)
	var command []string
	if m == nil || json.Unmarshal(m[1], &command) != nil || len(command) != 3 {
		t.Fatalf("%q", m)
	}
	if _, err := os.Stat(command[0]); err != nil {
		t.Skip("the image has bash: ", err)
	}
	for code, well := range map[int]bool{http.StatusOK: true, http.StatusServiceUnavailable: false, http.StatusNotFound: false} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" || r.Host != "localhost" {
				code = http.StatusTeapot
			}
			w.WriteHeader(code)
		}))
		defer s.Close()
		_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
		script := strings.ReplaceAll(command[2], "8080", port)
		if out, err := exec.Command(command[0], command[1], script).CombinedOutput(); (err == nil) != well {
			t.Errorf("%d: %v\n%s", code, err, out)
		}
	}
	if out, err := exec.Command(command[0], command[1], strings.ReplaceAll(command[2], "8080", "1")).CombinedOutput(); err == nil {
		t.Errorf("nothing listens: %s", out)
	}
}

// TestNothingIsReachable is what --insecure-no-auth leans on.
func TestNothingIsReachable(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		if s.NetworkMode != "" {
			t.Errorf("%s has network_mode %s", name, s.NetworkMode)
		}
		if published[name] {
			continue
		}
		if len(s.Ports) > 0 {
			t.Errorf("%s publishes ports", name)
		}
		for network := range s.Networks {
			if !p.Networks[network].Internal {
				t.Errorf("%s is in the network %s, which is not internal", name, network)
			}
		}
	}
	taken := map[string]string{}
	for name := range published {
		s := service(t, p, name)
		if len(s.Ports) == 0 {
			t.Errorf("%s publishes nothing", name)
		}
		for _, port := range s.Ports {
			if addr, err := netip.ParseAddr(port.HostIP); err != nil || !addr.IsLoopback() {
				t.Errorf("%s publishes %s on %q, want the loopback", name, port.Published, port.HostIP)
			}
			if other := taken[port.Published]; other != "" {
				t.Errorf("%s and %s publish port %s", name, other, port.Published)
			}
			taken[port.Published] = name
		}
		for _, backend := range []string{"redis", "azurite"} {
			for network := range service(t, p, backend).Networks {
				if _, ok := s.Networks[network]; ok {
					t.Errorf("%s reaches %s by the network %s", name, backend, network)
				}
			}
		}
	}
}

func TestRedis(t *testing.T) {
	command := service(t, load(t), "redis").Command
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
	} {
		if got, _ := option(command, name); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
	if _, ok := option(command, "maxmemory"); !ok {
		t.Error("without --maxmemory the policy never applies")
	}
}

func TestGateways(t *testing.T) {
	for _, env := range [][]string{nil, {"STREAMHUB_REDIS_PASSWORD=other"}} {
		p := load(t, env...)
		password, _ := option(service(t, p, "redis").Command, "requirepass")
		if password == "" || env != nil && password != "other" {
			t.Errorf("with %v the password is %q", env, password)
		}
		for _, name := range gateways {
			s := service(t, p, name)
			if len(s.Command) == 0 || s.Command[0] != "serve" || !slices.Contains(s.Command, "--insecure-no-auth") {
				t.Errorf("%s runs %v", name, s.Command)
			}
			if listen, _ := option(s.Command, "listen"); listen != "0.0.0.0:8080" {
				t.Errorf("%s listens on %q", name, listen)
			}
			text, _ := option(s.Command, "redis")
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := u.User.Password(); u.Scheme != "redis" || u.Host != "redis:6379" || got != password {
				t.Errorf("%s uses %s, the password of redis is %q", name, text, password)
			}
			if s.DependsOn["redis"].Condition != types.ServiceConditionHealthy {
				t.Errorf("%s does not wait for a healthy redis", name)
			}
			if dir, err := filepath.Abs(root); err != nil || s.Build == nil || s.Build.Context != dir {
				t.Errorf("%s is built from %+v, want %s", name, s.Build, dir)
			}
		}
	}
}

func TestProxy(t *testing.T) {
	p := load(t)
	proxy := service(t, p, "proxy")
	i := slices.IndexFunc(proxy.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Target == "/usr/local/etc/haproxy/haproxy.cfg"
	})
	if i < 0 {
		t.Fatal("the proxy has no configuration")
	}
	config, err := os.ReadFile(proxy.Volumes[i].Source)
	if err != nil {
		t.Fatal(err)
	}
	var servers []string
	for _, m := range regexp.MustCompile(`(?m)^\s+server\s+\S+\s+(\S+)`).FindAllStringSubmatch(string(config), -1) {
		servers = append(servers, m[1])
	}
	var want []string
	for _, name := range gateways {
		listen, _ := option(service(t, p, name).Command, "listen")
		want = append(want, name+listen[strings.LastIndex(listen, ":"):])
	}
	if !slices.Equal(servers, want) {
		t.Errorf("the proxy forwards to %v, want %v", servers, want)
	}
	bind := regexp.MustCompile(`(?m)^\s+bind :(\d+)$`).FindStringSubmatch(string(config))
	if bind == nil {
		t.Fatal("the proxy binds no port")
	}
	for _, port := range proxy.Ports {
		if got := strconv.Itoa(int(port.Target)); got != bind[1] {
			t.Errorf("port %s is published, the proxy binds %s", got, bind[1])
		}
	}
}

// TestImages wants every image pinned to a version, and the images of ours not to run as root.
func TestImages(t *testing.T) {
	p := load(t)
	pinned := regexp.MustCompile(`^[a-z0-9/-]+:v?[0-9][a-z0-9.-]*$`)
	for name, s := range p.Services {
		if s.Build == nil {
			if !pinned.MatchString(s.Image) {
				t.Errorf("%s uses the image %q", name, s.Image)
			}
			continue
		}
		file, err := os.ReadFile(filepath.Join(s.Build.Context, s.Build.Dockerfile))
		if err != nil {
			t.Fatal(err)
		}
		user := ""
		for line := range strings.Lines(string(file)) {
			switch f := strings.Fields(line); {
			case len(f) < 2:
			case f[0] == "FROM":
				user = ""
				if !pinned.MatchString(f[1]) {
					t.Errorf("%s is built from %q", name, f[1])
				}
			case f[0] == "USER":
				user = f[1]
			}
		}
		if user == "" || strings.HasPrefix(user, "root") || strings.HasPrefix(user, "0") {
			t.Errorf("%s runs as %q", name, user)
		}
	}
}

// TestGoVersion wants the Dockerfile to build with the Go that go.mod names.
func TestGoVersion(t *testing.T) {
	find := func(file, pattern string) string {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			t.Fatalf("%s does not match %s", file, pattern)
		}
		return string(m[1])
	}
	module := find("go.mod", `(?m)^go (\d+\.\d+)`)
	image := find("Dockerfile", `(?m)^FROM golang:(\d+\.\d+)`)
	if module != image {
		t.Errorf("go.mod says Go %s, the Dockerfile %s", module, image)
	}
}
