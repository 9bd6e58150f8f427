package main

import (
	"io"
	"log/slog"
	"net"
)

// logFlags are the flags for the log, which goes to standard error.
type logFlags struct {
	LogLevel  slog.Level `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error; the log goes to standard error."`
	LogFormat string     `enum:"text,json" default:"text" help:"text or json: a line each. With json nothing else is written to standard error while serve runs."`
}

func (f *logFlags) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: f.LogLevel}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// logStart writes what this process is, as the first line of its log.
func (c *serveCmd) logStart(s *session, log *slog.Logger, listen, admin net.Addr) {
	redis, because := hidden("redis", string(c.Redis)), "--redis"
	switch {
	case c.Data != "":
		redis, because = "a server of its own on "+c.Data, "--data"
	case c.Redis == "":
		redis, because = "embedded, which keeps nothing", "neither --redis nor --data"
	case s.given("redis"):
	case s.getenv(redisVariable) != "":
		because = redisVariable
	default:
		because = "the file of --config"
	}
	level := "memory of the primary"
	if c.Durability.level != nil {
		level = c.Durability.level.String()
	}
	log.Info("starting", "version", versionText(), "listen", listen.String(), "admin", admin.String(), "auth", c.Auth,
		"redis", redis, "redis_because", because, "durability", level, "archive", hidden("archive", c.Archive))
}
