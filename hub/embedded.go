package hub

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
)

// embeddedTick is how often the embedded Redis expires keys with a time to live: the clock of miniredis stands still
// unless it is moved.
const embeddedTick = 250 * time.Millisecond

// An embedded is an in-memory Redis in this process.
type embedded struct {
	server *miniredis.Miniredis
	client redis.UniversalClient
	url    string
	stop   chan struct{}
	ticker sync.WaitGroup
}

func startEmbedded(provider metric.MeterProvider) (*embedded, error) {
	e := &embedded{server: miniredis.NewMiniRedis(), stop: make(chan struct{})}
	password := rand.Text()
	e.server.RequireAuth(password)
	if err := e.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: e.server.Addr()}
	e.url = u.String()
	client, err := (&ClientOptions{MeterProvider: provider}).NewClient(e.url)
	if err != nil {
		e.server.Close()
		return nil, err
	}
	e.client = client
	e.ticker.Go(func() {
		tick := time.NewTicker(embeddedTick)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-e.stop:
				return
			case now := <-tick.C:
				e.server.FastForward(now.Sub(last))
				last = now
			}
		}
	})
	return e, nil
}

func (e *embedded) close() error {
	close(e.stop)
	e.ticker.Wait()
	err := e.client.Close()
	e.server.Close()
	return err
}
