// Package localredis runs a redis-server of its own on a directory: what serve --data stands on.
//
// The server appends every write to a file that it syncs once a second, evicts nothing, and listens
// on a unix socket that only this user may open. The directory is locked while either process
// lives, so two servers never share one.
package localredis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/child"
	"github.com/seed-147127fe/streamhub/internal/datadir"
	"github.com/seed-147127fe/streamhub/internal/redisbin"
)

const (
	socketName = "redis.sock"
	logName    = "redis.log"
	filesName  = "appendonlydir" // Redis's own default
	lockName   = "streamhub.lock"
	// maxSocketPath is what fits into a socket address everywhere.
	maxSocketPath = 100
	// lockPatience is how long a server whose parent was killed may take to end.
	lockPatience = 2 * time.Second
)

// A Server is a running redis-server.
type Server struct {
	dir     string
	sockets string // a temporary directory for the socket, if it is not in dir
	url     string
	lock    *os.File
	process *child.Process
}

// Start starts a server on dir, which is made if need be, and returns when it serves what dir holds.
// program is the server program, a path or a name; if it is empty, [redisbin.Find] chooses one. ctx
// bounds the start only.
func Start(ctx context.Context, dir, program string) (_ *Server, err error) {
	if Unsupported != nil {
		return nil, Unsupported
	}
	program, err = redisbin.Find(program)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkOurs(dir); err != nil {
		return nil, err
	}
	// The directory may have been there, with another mode. Redis makes its files readable for everybody.
	files := filepath.Join(dir, filesName)
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(files, 0o700); err != nil && !errors.Is(err, os.ErrPermission) {
		return nil, err
	}
	s := &Server{dir: dir}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.lock, err = lock(ctx, dir); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, socketName)
	if len(socket) > maxSocketPath {
		if s.sockets, err = os.MkdirTemp("", "streamhub-"); err != nil {
			return nil, err
		}
		socket = filepath.Join(s.sockets, socketName)
	}
	s.url = (&url.URL{Scheme: "unix", Path: socket}).String()
	if err := checkMarker(ctx, dir, program); err != nil {
		return nil, err
	}
	if err := s.launch(program, socket); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		s.process.Stop(time.Second)
		return nil, fmt.Errorf("redis-server on %s: %w\n%s", dir, err, s.logTail())
	}
	if err := mark(ctx, dir, program); err != nil {
		s.process.Stop(time.Second)
		return nil, err
	}
	return s, nil
}

// checkOurs refuses a directory that has files and none of a server of ours: its name is mistyped, or it has a
// dump.rdb, which a server with append-only files passes over in silence.
func checkOurs(dir string) error {
	foreign, err := datadir.Foreign(dir, func(name string) bool { return name == filesName || name == lockName })
	if err != nil {
		return err
	}
	if foreign != "" {
		return fmt.Errorf("%s holds no data of streamhub serve but other files, %s among them: name a new or an empty directory", dir, foreign)
	}
	return nil
}

func (s *Server) launch(program, socket string) error {
	log, err := os.OpenFile(filepath.Join(s.dir, logName), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, "-")
	cmd.Dir = s.dir
	cmd.Stdout, cmd.Stderr = log, log
	// It holds the lock as well: a server that outlives us keeps others off its files.
	cmd.ExtraFiles = []*os.File{s.lock}
	cmd.Stdin = strings.NewReader(strings.Join([]string{
		"port 0",
		"unixsocket " + quote(socket),
		"unixsocketperm 700",
		"daemonize no",
		`logfile ""`,
		"appendonly yes",
		"appenddirname " + filesName,
		"appendfsync everysec",
		`save ""`,
		"maxmemory-policy noeviction",
		// Redis preallocates a node for each segment, however little is in it; see docs/operations.md.
		"stream-node-max-bytes 2048",
		"",
	}, "\n"))
	// In a group of its own, so that Ctrl-C in a terminal ends us first and the server after us.
	s.process, err = child.Start(cmd, true)
	return err
}

// quote writes text as a word of a Redis configuration.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

// ready waits until the server has loaded its data.
func (s *Server) ready(ctx context.Context) error {
	options, err := redis.ParseURL(s.url)
	if err != nil {
		return err
	}
	options.DisableIdentity, options.DialerRetries, options.MaxRetries = true, 1, -1
	client := redis.NewClient(options)
	defer client.Close()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		err := client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-s.process.Done():
			return errors.New("it did not start; its log ends with")
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w; its log ends with", err)
		}
	}
}

// URL is what a client connects to.
func (s *Server) URL() string { return s.url }

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Err says, once Done is closed, why a server that was not stopped has ended.
func (s *Server) Err() error {
	return fmt.Errorf("redis-server on %s ended (%v); its log ends with\n%s", s.dir, s.process.Err(), s.logTail())
}

// Stop ends the server, which saves what it has, and waits for it; after grace it is killed, and
// what it wrote in the last second may be lost only if the machine stops too.
func (s *Server) Stop(grace time.Duration) {
	s.process.Stop(grace)
	s.release()
}

func (s *Server) release() {
	if s.sockets != "" {
		_ = os.RemoveAll(s.sockets)
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// logTail is the end of the server's log.
func (s *Server) logTail() string {
	text, err := os.ReadFile(filepath.Join(s.dir, logName))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-5):], "\n  ")
}

// lock takes the directory, or says who has it. The file stays behind: removing it would let two
// processes lock two files of one name.
func lock(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	patience := time.NewTimer(lockPatience)
	defer patience.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		taken, err := tryLock(f)
		if taken {
			break
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-poll.C:
			continue
		case <-patience.C:
		case <-ctx.Done():
		}
		owner, _ := os.ReadFile(f.Name())
		_ = f.Close()
		return nil, fmt.Errorf("%s is in use by another streamhub serve (process %s): stop it, or choose another directory",
			dir, strings.TrimSpace(string(owner)))
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
