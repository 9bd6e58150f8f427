package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

const (
	sessionTime = 12 * time.Hour
	// maxEnded bounds how many sessions that logged out are remembered until their time is over.
	maxEnded = 1024
)

// ErrEnded is the cause of a context whose session has ended.
var ErrEnded = errors.New("the session has ended")

// sessions are what a process knows of sessions besides what their cookies say.
type sessions struct {
	mu    sync.Mutex // guards what follows
	ended map[string]time.Time
	// under are the requests that are under way, by session.
	under map[string]map[*context.CancelCauseFunc]struct{}
}

// A session is a random id and a time, both signed with the token.
type session struct {
	id    string
	until time.Time
}

// begin makes a session, as the value of its cookie.
func (c *Console) begin() string {
	text := strconv.FormatInt(time.Now().Add(sessionTime).Unix(), 10) + "." + rand.Text()
	return text + "." + c.sign(text)
}

func (c *Console) sign(text string) string {
	mac := hmac.New(sha256.New, c.digest[:])
	mac.Write([]byte("streamhub console session " + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sessionOf returns the session of a request, unless its time is over.
func (c *Console) sessionOf(r *http.Request) (s session, ok bool) {
	if c.open {
		return s, false // there are no sessions
	}
	value, err := r.Cookie(cookie)
	if err != nil {
		return s, false
	}
	i := strings.LastIndexByte(value.Value, '.')
	if i < 0 {
		return s, false
	}
	text, signature := value.Value[:i], value.Value[i+1:]
	if !hmac.Equal([]byte(signature), []byte(c.sign(text))) {
		return s, false
	}
	until, id, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(until, 10, 64)
	s = session{id, time.Unix(seconds, 0)}
	return s, err == nil && time.Now().Before(s.until)
}

// Allows reports whether a request comes from a page of this origin with a session.
func (c *Console) Allows(r *http.Request) bool {
	_, leave, ok := c.Enter(r)
	if ok {
		leave()
	}
	return ok
}

// Enter returns a context for a request from a page of this origin with a session; ok is false for any other
// request. The context ends with the session, with the cause [ErrEnded]. The caller calls leave when the request is over.
func (c *Console) Enter(r *http.Request) (ctx context.Context, leave func(), ok bool) {
	s, ok := c.sessionOf(r)
	if !ok || auth.OwnOrigin(r) != nil {
		return nil, nil, false
	}
	ctx, stop := context.WithDeadlineCause(r.Context(), s.until, ErrEnded)
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, over := c.ended[s.id]; over {
		cancel(nil)
		stop()
		return nil, nil, false
	}
	if c.under[s.id] == nil {
		c.under[s.id] = map[*context.CancelCauseFunc]struct{}{}
	}
	c.under[s.id][&cancel] = struct{}{}
	return ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if delete(c.under[s.id], &cancel); len(c.under[s.id]) == 0 {
			delete(c.under, s.id)
		}
		cancel(nil)
		stop()
	}, true
}

// end ends a session in this process, with what is under way for it.
func (c *Console) end(s session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cancel := range c.under[s.id] {
		(*cancel)(ErrEnded)
	}
	first := session{}
	for id, until := range c.ended {
		if time.Now().After(until) {
			delete(c.ended, id)
		} else if first.id == "" || until.Before(first.until) {
			first = session{id, until}
		}
	}
	if len(c.ended) >= maxEnded {
		delete(c.ended, first.id)
	}
	c.ended[s.id] = s.until
}
