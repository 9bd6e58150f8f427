package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/localredis"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A served is a running serve.
type served struct {
	*program
	front, admin string // URLs
}

func serve(t *testing.T, args ...string) *served {
	t.Helper()
	p := start(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	line := p.line()
	m := regexp.MustCompile(`^listening (http://127\.0\.0\.1:[1-9]\d*) admin (http://127\.0\.0\.1:[1-9]\d*)$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("first line %q", line)
	}
	return &served{p, m[1], m[2]}
}

// redis returns the URL that serve told people to use.
func (s *served) redis() string {
	s.t.Helper()
	form := regexp.MustCompile(`export STREAMHUB_REDIS_URL='([^']+)'`)
	until(s.t, "hint", func() bool { return form.MatchString(s.err.String()) })
	return form.FindStringSubmatch(s.err.String())[1]
}

func (s *served) end(signal syscall.Signal) {
	s.t.Helper()
	s.signal(signal)
	if out, code := s.rest(); code != 0 || out != "" {
		s.t.Errorf("exit %d after %v, %q\n%s", code, signal, out, s.err)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// put makes a stream with one message.
func put(t *testing.T, url string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodPut, url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response
}

// becomesReady waits until the gateway says that it serves.
func (s *served) becomesReady(t *testing.T) {
	t.Helper()
	until(t, "readiness", func() bool {
		code, _ := get(t, s.front+"/readyz")
		return code == http.StatusOK
	})
}

func TestServeEmbedded(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := serve(t)
		url := s.redis()
		good(t, strings.NewReader("hello\n"), "append", "demo/log", "--redis", url)
		if r := good(t, nil, "read", "demo/log", "--redis", url); r.out != "hello\n" {
			t.Errorf("%+v", r)
		}
		for _, test := range []struct {
			url  string
			code int
			body string
		}{
			{s.front + "/healthz", 200, "ok\n"},
			{s.front + "/readyz", 200, "ok\n"},
			{s.front + "/metrics", 404, ""},
			{s.front + "/debug/pprof/", 404, ""},
			{s.admin + "/metrics", 200, "go_goroutines"},
			{s.admin + "/metrics", 200, `streamhub_open_streams{transport="durable"} 0`},
			{s.admin + "/metrics", 200, `streamhub_open_streams{transport="live"} 0`},
			{s.admin + "/metrics", 200, `streamhub_open_streams{transport="streamkit"} 0`},
			{s.admin + "/metrics", 200, `streamhub_open_streams{transport="websocket"} 0`},
			{s.admin + "/metrics", 200, `streamhub_refusals_total{reason="token",transport="live"} 0`},
			{s.admin + "/metrics", 200, `streamhub_refusals_total{reason="protocol",transport="websocket"} 0`},
			{s.admin + "/metrics", 200, `streamhub_requests_total{code="200",op="get",transport="durable"} 0`},
			{s.admin + "/metrics", 200, "streamhub_build_info{"},
			{s.admin + "/metrics", 200, "streamhub_redis_up 1"},
			{s.admin + "/debug/pprof/", 200, "goroutine"},
		} {
			if code, body := get(t, test.url); code != test.code || !strings.Contains(body, test.body) {
				t.Errorf("%s: %d, want %d\n%s", test.url, code, test.code, body)
			}
		}
		if _, body := get(t, s.admin+"/metrics"); strings.Contains(body, "otel_scope") {
			t.Errorf("labels of scopes\n%s", body)
		}
		if !strings.Contains(s.err.String(), "keeps nothing") {
			t.Errorf("no word of it in\n%s", s.err)
		}
		s.end(signal)
	}
}

func TestServeRedis(t *testing.T) {
	server := testredis.Start(t, nil)
	s := serve(t, "--redis", server.URL())
	server.Kill()
	if code, body := get(t, s.front+"/readyz"); code != http.StatusServiceUnavailable || body != "away\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _ := get(t, s.front+"/healthz"); code != 200 {
		t.Errorf("the process lives, but %d", code)
	}
	server.Restart()
	s.becomesReady(t)
	s.end(syscall.SIGTERM)
}

// TestServeBeforeRedis starts a gateway before its Redis. It serves when Redis does, and ends when what is there then is
// none for a hub.
func TestServeBeforeRedis(t *testing.T) {
	server := testredis.Start(t, nil)
	admin := server.Client()
	server.Kill()
	s := serve(t, "--redis", server.URL())
	if code, body := get(t, s.front+"/readyz"); code != http.StatusServiceUnavailable || body != "away\n" {
		t.Errorf("%d %q", code, body)
	}
	if r := put(t, s.front+"/v1/stream/a"); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", r.Status, r.Header.Get("Retry-After"))
	}
	server.Restart()
	s.becomesReady(t)
	if r := put(t, s.front+"/v1/stream/a"); r.StatusCode != http.StatusCreated {
		t.Error(r.Status)
	}
	set := func(key, value, word string, status int) {
		t.Helper()
		if err := admin.ConfigSet(within(t), key, value).Err(); err != nil {
			t.Fatal(err)
		}
		until(t, word, func() bool {
			_, body := get(t, s.front+"/readyz")
			return body == word+"\n"
		})
		if code, _ := get(t, s.front+"/healthz"); code != 200 {
			t.Errorf("%s: healthz %d", word, code)
		}
		request, _ := http.NewRequestWithContext(within(t), http.MethodDelete, s.front+"/v1/stream/a", nil)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s: delete %s, want %d", word, response.Status, status)
		}
	}
	set("maxmemory", "1", "full", http.StatusNoContent) // what makes room goes on
	set("maxmemory", "0", "ok", http.StatusNotFound)
	until(t, "the word of its return", func() bool { return strings.Contains(s.err.String(), "Redis serves again") })
	// It comes back as one that evicts.
	if err := admin.ConfigSet(within(t), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	if err := admin.ConfigRewrite(within(t)).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	until(t, "away", func() bool {
		_, body := get(t, s.front+"/readyz")
		return body == "away\n"
	})
	server.Restart()
	if _, code := s.rest(); code != exitFailed || !strings.Contains(s.err.String(), "CONFIG SET maxmemory-policy noeviction") {
		t.Errorf("exit %d\n%s", code, s.err)
	}
}

func TestServeTakenPort(t *testing.T) {
	s := serve(t)
	r := call(t, nil, "serve", "--listen", strings.TrimPrefix(s.front, "http://"), "--admin-listen", "127.0.0.1:0")
	if r.code != exitFailed || !strings.Contains(r.err, "--listen") || r.out != "" {
		t.Errorf("%+v", r)
	}
}

func TestServeInProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	reader, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, nil, writer, io.Discard, nil)
	}()
	line := make([]byte, 200)
	n, err := reader.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "listening http://127.0.0.1:") {
		t.Errorf("%q, %v", line[:n], err)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

// redisPid is the process that serves a URL.
func redisPid(t *testing.T, url string) int {
	t.Helper()
	client, err := hub.NewClient(url)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	info, err := client.Info(within(t), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(regexp.MustCompile(`process_id:(\d+)`).FindStringSubmatch(info)[1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestServeData(t *testing.T) {
	testredis.Shared(t) // skips without redis-server
	for name, dir := range map[string]string{
		"short":           filepath.Join(t.TempDir(), "data"),
		"long and spaced": filepath.Join(t.TempDir(), strings.Repeat("a \"long\" name ", 8)),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "--data", dir)
			url := s.redis()
			if r := good(t, nil, "doctor", "--redis", url); !strings.Contains(r.out, "ok  streams  nodes of 2048 bytes") {
				t.Errorf("%+v", r)
			}
			good(t, strings.NewReader("1\n2\n"), "append", "a/b", "--redis", url)
			cursor := cursorOf(t, good(t, nil, "read", "a/b", "--limit", "1", "--redis", url))
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v", info.Mode(), err)
			}

			r := call(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", dir)
			if r.code != exitFailed || !strings.Contains(r.err, "in use") || r.out != "" {
				t.Errorf("a second serve: %+v", r)
			}
			s.end(syscall.SIGTERM)

			s = serve(t, "--data", dir)
			if r := good(t, nil, "read", "a/b", "--from", cursor, "--redis", s.redis()); r.out != "2\n" {
				t.Errorf("after a restart: %+v", r)
			}
			pid := redisPid(t, s.redis())
			s.signal(syscall.SIGKILL)
			s.rest()
			until(t, "end of redis-server", func() bool { return process(t, pid).Signal(syscall.Signal(0)) != nil })

			s = serve(t, "--data", dir)
			if r := good(t, nil, "read", "a/b", "--redis", s.redis()); r.out != "1\n2\n" {
				t.Errorf("after a crash: %+v", r)
			}
			s.end(syscall.SIGINT)
		})
	}
}

// TestServeDataPrivate has a directory that others may read: what Redis writes there they may not.
func TestServeDataPrivate(t *testing.T) {
	testredis.Shared(t)
	dir := t.TempDir()
	files := filepath.Join(dir, "appendonlydir")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(files, 0o755)); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--data", dir)
	good(t, strings.NewReader("1\n"), "append", "a/b", "--redis", s.redis())
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		if path == files {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	s.end(syscall.SIGTERM)
}

// TestServeDataUnsupported is refused with the way out where no Redis runs.
func TestServeDataUnsupported(t *testing.T) {
	defer func(was error) { localredis.Unsupported = was }(localredis.Unsupported)
	localredis.Unsupported = errors.New("no Redis here: name one with --redis")
	r := call(t, nil, "serve", "--data", t.TempDir())
	if r.code != exitUsage || r.out != "" || !strings.Contains(r.err, "--data: no Redis here: name one with --redis") {
		t.Errorf("%+v", r)
	}
}

// process finds a process that need not be a child.
func process(t *testing.T, pid int) *os.Process {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestServeDataAtOnce starts again in the moment in which the redis-server of a killed serve ends.
func TestServeDataAtOnce(t *testing.T) {
	testredis.Shared(t)
	dir := t.TempDir()
	for range 3 {
		s := serve(t, "--data", dir)
		good(t, strings.NewReader("x\n"), "append", "a/b", "--redis", s.redis())
		s.signal(syscall.SIGKILL)
		s.wait()
	}
	s := serve(t, "--data", dir)
	if r := good(t, nil, "read", "a/b", "--redis", s.redis()); r.out != "x\nx\nx\n" {
		t.Errorf("%+v", r)
	}
	s.end(syscall.SIGTERM)
}

// TestServeDataOrphan leaves a redis-server behind that does not end at once: nobody else gets its
// files meanwhile.
func TestServeDataOrphan(t *testing.T) {
	testredis.Shared(t)
	dir := t.TempDir()
	s := serve(t, "--data", dir)
	client, err := hub.NewClient(s.redis())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// It looks at signals between commands; this one takes longer than a second serve waits.
	ctx := within(t)
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		client.Eval(ctx, "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 4 do end", []string{"k"})
	}()
	until(t, "busy server", func() bool {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		return client.Ping(ctx).Err() != nil
	})
	s.signal(syscall.SIGKILL)
	s.wait()
	r := call(t, nil, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", dir)
	if r.code != exitFailed || !strings.Contains(r.err, "in use") {
		t.Errorf("%+v", r)
	}
	<-busy
	serve(t, "--data", dir).end(syscall.SIGTERM)
}

func TestServeDataDies(t *testing.T) {
	testredis.Shared(t)
	s := serve(t, "--data", t.TempDir())
	if err := process(t, redisPid(t, s.redis())).Kill(); err != nil {
		t.Fatal(err)
	}
	if _, code := s.rest(); code != exitFailed || !strings.Contains(s.err.String(), "redis-server on") {
		t.Errorf("exit %d\n%s", code, s.err)
	}
}

func TestServeDataWithoutRedis(t *testing.T) {
	p := start(t, []string{"PATH=" + t.TempDir()}, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", t.TempDir())
	if out, code := p.rest(); code != exitFailed || out != "" || !strings.Contains(p.err.String(), "apt-get install redis-server") {
		t.Errorf("exit %d, %q\n%s", code, out, p.err)
	}
}
