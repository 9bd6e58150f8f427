package composecheck

import (
	"net/netip"
	"net/url"
	"os"
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
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithEnv(env))
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
	want := append([]string{"azurite", "proxy", "redis"}, gateways...)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
}

// TestNothingIsReachable is what --insecure-no-auth leans on.
func TestNothingIsReachable(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		if s.NetworkMode != "" {
			t.Errorf("%s has network_mode %s", name, s.NetworkMode)
		}
		if name == "proxy" {
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
	proxy := service(t, p, "proxy")
	if len(proxy.Ports) == 0 {
		t.Error("the proxy publishes nothing")
	}
	for _, port := range proxy.Ports {
		if addr, err := netip.ParseAddr(port.HostIP); err != nil || !addr.IsLoopback() {
			t.Errorf("the proxy publishes %s on %q, want the loopback", port.Published, port.HostIP)
		}
	}
	for _, backend := range []string{"redis", "azurite"} {
		for network := range service(t, p, backend).Networks {
			if _, ok := proxy.Networks[network]; ok {
				t.Errorf("the proxy reaches %s by the network %s", backend, network)
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
	pinned := regexp.MustCompile(`^[a-z0-9/-]+:[0-9][a-z0-9.-]*$`)
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
