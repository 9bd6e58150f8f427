package testredis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

func TestStart(t *testing.T) {
	begin := time.Now()
	s := Start(t, &Options{Password: `p "q"`, MaxMemory: "3mb", Config: []string{"maxclients 77"}})
	t.Logf("ready after %v", time.Since(begin))
	ctx := within(t, 30*time.Second)

	o, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	byURL := redis.NewClient(o)
	defer byURL.Close()
	for name, c := range map[string]*redis.Client{"Client": s.Client(), "URL": byURL} {
		if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	limits, err := s.Client().ConfigGet(ctx, "max*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"maxclients": "77", "maxmemory": "3145728", "maxmemory-policy": "noeviction"} {
		if limits[name] != want {
			t.Errorf("%s is %q, want %q", name, limits[name], want)
		}
	}
	open := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer open.Close()
	if err := open.Ping(ctx).Err(); err == nil {
		t.Error("the server answers without a password")
	}
}

func TestRestart(t *testing.T) {
	for _, aof := range []string{"always", "everysec", "no", ""} {
		t.Run("aof="+aof, func(t *testing.T) {
			t.Parallel()
			s := Start(t, &Options{AOF: aof})
			c, ctx := s.Client(), within(t, time.Minute)
			addr := s.Addr()
			if aof != "" {
				got, err := c.ConfigGet(ctx, "append*").Result()
				if err != nil || got["appendonly"] != "yes" || got["appendfsync"] != aof {
					t.Errorf("configuration %v, %v", got, err)
				}
			}
			keeps := func(want int64) {
				t.Helper()
				if n, err := c.Exists(ctx, "k").Result(); err != nil || n != want {
					t.Errorf("EXISTS = %d, %v, want %d", n, err, want)
				}
			}
			kept := int64(1)
			if aof == "" {
				kept = 0
			}
			for name, crash := range map[string]func(){"kill": s.Kill, "stop": s.Stop, "running": func() {}} {
				if err := c.Set(ctx, "k", name, 0).Err(); err != nil {
					t.Fatal(err)
				}
				before := s.Pid()
				crash()
				if pid := s.Pid(); name != "running" && pid != 0 {
					t.Errorf("after %s there is a process %d", name, pid)
				}
				s.Restart()
				if pid := s.Pid(); pid == 0 || pid == before {
					t.Errorf("process %d after the restart of %d", pid, before)
				}
				keeps(kept)
			}
			s.RestartEmpty()
			keeps(0)
			if s.Addr() != addr {
				t.Errorf("address moved from %s to %s", addr, s.Addr())
			}
		})
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := Start(t, nil)
	c := s.Client()
	if err := c.Ping(within(t, 30*time.Second)).Err(); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	if err := c.Ping(within(t, 200*time.Millisecond)).Err(); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("a paused server: %v, want a timeout", err)
	}
	s.Resume()
	if err := c.Ping(within(t, 30*time.Second)).Err(); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	s.Pause()
	s.Stop() // also works on a paused server
	if s.Pid() != 0 {
		t.Error("still there after Stop")
	}
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

func TestShared(t *testing.T) {
	t.Parallel()
	if a, b := Shared(t), Shared(t); a.Pid() == 0 || a.Pid() != b.Pid() {
		t.Errorf("processes %d and %d, want one", a.Pid(), b.Pid())
	}
	if a, b := SharedCluster(t), SharedCluster(t); len(a.Nodes) != 3 || a.Nodes[2].Pid() != b.Nodes[2].Pid() {
		t.Errorf("clusters %v and %v, want one", a.Addrs(), b.Addrs())
	}
}

func TestStartReportsTheLog(t *testing.T) {
	_, err := startServer(findBinary(t), t.TempDir(), &Options{Config: []string{"no-such-directive 1"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "no-such-directive") {
		t.Errorf("error %v, want one that quotes the server", err)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ports := map[string]int{
		"silent listener": silent.Addr().(*net.TCPAddr).Port,
		"another redis":   Shared(t).n.port,
	}
	for name, port := range ports {
		t.Run(name, func(t *testing.T) {
			n := &node{path: findBinary(t), dir: t.TempDir(), port: port}
			n.config = strings.Join(serverLines(port, &Options{}), "\n")
			if err := n.create(); !errors.Is(err, errPortTaken) {
				t.Errorf("error %v, want errPortTaken", err)
			}
		})
	}
}

// TestDiesWithParent runs a test binary that starts a server, kills that binary and expects the server to be gone.
func TestDiesWithParent(t *testing.T) {
	t.Parallel()
	if dieWithParent() == nil {
		t.Skip("needs Linux: no other system kills a child with its parent")
	}
	if os.Getenv("TESTREDIS_CHILD") != "" {
		s := Start(t, nil)
		if _, err := os.Stdout.WriteString("addr " + s.Addr() + "\n"); err != nil {
			t.Fatal(err)
		}
		<-t.Context().Done() // until the parent kills us
		return
	}
	findBinary(t)
	child := exec.Command(os.Args[0], "-test.run=^TestDiesWithParent$", "-test.timeout=1m")
	child.Env = append(os.Environ(), "TESTREDIS_CHILD=1", "TMPDIR="+t.TempDir()) // it will not clean up
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	addr := readAddr(t, output)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	err = poll(10*time.Second, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		if err == nil {
			_ = conn.Close()
		}
		return fmt.Errorf("dial: %v, want it refused", err)
	})
	if err != nil {
		t.Errorf("server on %s: %v", addr, err)
	}
}

func readAddr(t *testing.T, r interface{ Read([]byte) (int, error) }) string {
	t.Helper()
	var text string
	buf := make([]byte, 256)
	for {
		n, err := r.Read(buf)
		text += string(buf[:n])
		if _, after, ok := strings.Cut(text, "addr "); ok {
			if addr, _, ok := strings.Cut(after, "\n"); ok {
				return addr
			}
		}
		if err != nil {
			t.Fatalf("child ended early: %v\n%s", err, text)
		}
	}
}

// verdict records how a test was ended instead of ending it.
type verdict struct {
	testing.TB
	skipped, failed bool
}

func (v *verdict) Helper()     {}
func (v *verdict) Skip(...any) { v.skipped = true }
func (v *verdict) Fatal(...any) {
	v.failed = true
	panic(v)
}

func TestMissingBinary(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(redisbin.Variable, "")
	for _, env := range []string{"", "CI", "STREAMHUB_REQUIRE_REDIS"} {
		t.Run("env="+env, func(t *testing.T) {
			t.Setenv("CI", "")
			t.Setenv("STREAMHUB_REQUIRE_REDIS", "")
			if env != "" {
				t.Setenv(env, "1")
			}
			v := &verdict{TB: t}
			func() {
				defer func() {
					if r := recover(); r != nil && r != any(v) {
						panic(r)
					}
				}()
				findBinary(v)
			}()
			if want := env != ""; v.failed != want || v.skipped == want {
				t.Errorf("failed %v, skipped %v", v.failed, v.skipped)
			}
		})
	}
}
