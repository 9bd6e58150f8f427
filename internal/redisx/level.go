package redisx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
)

// trustsEverysec reports whether WAITAOF waits for the disk under appendfsync everysec. Redis 7.4,
// Valkey from 8.0 on and Redict answer without a sync; Redis 8.0 repaired it.
func trustsEverysec(s *Server) bool {
	switch s.Product {
	case "Redis":
		return AtLeast(s.Version, 8, 0) || AtLeast(s.Version, 7, 2) && !AtLeast(s.Version, 7, 4)
	case "Valkey":
		return !AtLeast(s.Version, 8, 0)
	}
	return false
}

// CheckLevel refuses a level of durability that the server cannot give, and says what to do about it.
func (s *Server) CheckLevel(d streamhub.Durability) error {
	refuse := func(level, why string) error {
		return fmt.Errorf("%w: durability with %s: %s", streamhub.ErrInvalidArgument, level, why)
	}
	if d.Replicas < 0 || d.Timeout < 0 {
		return fmt.Errorf("%w: Durability: Replicas and Timeout have to be 0 or more", streamhub.ErrInvalidArgument)
	}
	if d.Replicas > 0 && !d.Fsync {
		switch {
		case s.Embedded:
			return refuse("replicas", "the embedded Redis has none")
		case !s.has("wait"):
			return refuse("replicas", s.missing("wait"))
		}
	}
	if !d.Fsync {
		return nil
	}
	switch {
	case s.Embedded:
		return refuse("fsync", "the embedded Redis keeps nothing")
	case !AtLeast(s.Compatible, 7, 2):
		return refuse("fsync", fmt.Sprintf("%s has no WAITAOF; upgrade to Redis 8.0 or to Valkey", s))
	case !s.has("waitaof"):
		return refuse("fsync", s.missing("waitaof"))
	case !s.AOF:
		return refuse("fsync", "the server has no append-only file; CONFIG SET appendonly yes, and in its configuration")
	case s.Fsync == "":
		return refuse("fsync", "the server does not tell how often it syncs: "+s.missing("config|get"))
	}
	return s.CheckFsync(s.Fsync)
}

// CheckFsync refuses a policy of appendfsync under which the server does not promise that an append
// is on disk.
func (s *Server) CheckFsync(policy string) error {
	switch {
	case policy == "always", policy == "everysec" && trustsEverysec(s):
		return nil
	case policy == "everysec":
		return fmt.Errorf("%w: durability with fsync: under appendfsync everysec %s answers WAITAOF before it has synced; CONFIG SET appendfsync always, and in its configuration",
			streamhub.ErrInvalidArgument, s)
	}
	return fmt.Errorf("%w: durability with fsync: appendfsync is %q, the server never syncs by itself; CONFIG SET appendfsync always, or everysec, and in its configuration",
		streamhub.ErrInvalidArgument, policy)
}

// missing returns a text that says that an optional command cannot be run, and what to do about it.
func (s *Server) missing(command string) string {
	name := strings.ToUpper(strings.ReplaceAll(command, "|", " "))
	if slices.Contains(s.unknown, command) {
		return "the server does not know " + name + "; remove rename-command from its configuration"
	}
	return "the user may not run " + name + "; run " + grant(s.user, "+"+command)
}

// CheckQuota refuses a server that cannot report the memory of a key, which a quota needs.
func (s *Server) CheckQuota() error {
	switch {
	case s.has("memory|usage"):
		return nil
	case slices.Contains(s.unknown, "memory|usage"):
		return fmt.Errorf("%w: a quota of stores: %s", streamhub.ErrInvalidArgument, s.missing("memory|usage"))
	}
	return lacking(s.user, UserRuleQuota, "memory|usage")
}

// CanWait refuses a client that cannot send WAIT on the connection of the preceding write.
func (c *Conn) CanWait() error {
	switch c.UniversalClient.(type) {
	case *redis.Client, *redis.ClusterClient:
		return nil
	}
	return fmt.Errorf("%w: durability needs a *redis.Client or a *redis.ClusterClient, this is %T", streamhub.ErrInvalidArgument, c.UniversalClient)
}
