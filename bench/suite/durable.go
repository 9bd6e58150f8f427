package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

const (
	writers  = 32     // connections that append to Durable Streams
	messages = 16_000 // of a stream that is caught up with
	posted   = 256    // bytes of each of them
	catchers = 8      // readers that catch up at once
)

func durableRows() []row {
	var all []row
	for _, streams := range []int{1, writers} {
		all = append(all, row{
			name: fmt.Sprintf("Durable Streams, %d connections append to %d streams, %d B", writers, streams, posted), unit: "appends/s",
			contestants: []contestant{{"go-redis XADD", xadd(writers, posted), target{}}, {"streamhub, POST", posts(streams), target{}}},
		})
	}
	return append(all,
		row{
			name: "Durable Streams, POST to an event stream, 1,000/s, p50", unit: "µs",
			contestants: []contestant{{"go-redis PUBLISH to SUBSCRIBE", published, target{}}, {"streamhub, POST to server-sent events", evented, target{}}},
		},
		row{
			name: "Durable Streams, fan-out of one stream to 1000 event streams, CPU of the server", unit: "µs/delivery",
			contestants: []contestant{
				{"bare loop of prepared writes", fanout(1000, 1, bareCrowd), target{}},
				{"streamhub, server-sent events", fanout(1000, 1, eventCrowd), target{}},
			},
		},
		row{
			name: fmt.Sprintf("Durable Streams, catch-up of %d messages of %d B, %d readers", messages, posted, catchers), unit: "MB/s",
			contestants: []contestant{{"a file of Go's HTTP server", download, target{}}, {"streamhub, GET", catchUp, target{}}},
		},
	)
}

// A durableServer is a gateway of Durable Streams in a process of its own, and a client of it.
type durableServer struct {
	*process
	http *http.Client
}

func serveDurable(ctx context.Context, child ...string) (*durableServer, error) {
	p, err := spawn(ctx, child...)
	return &durableServer{p, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}}, err
}

func (d *durableServer) stop() error {
	d.http.CloseIdleConnections()
	return d.process.stop()
}

// url returns the address of a stream, whose name may end with a query.
func (d *durableServer) url(stream string) string {
	return "http://" + d.line + "/v1/stream/bench/" + stream
}

// do sends a request; the caller reads and closes the body.
func (d *durableServer) do(ctx context.Context, method, url string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	response, err := d.http.Do(r)
	if err == nil && response.StatusCode >= 300 {
		err = errors.Join(fmt.Errorf("%s %s: %s", method, url, response.Status), response.Body.Close())
	}
	return response, err
}

// size makes a request and returns how many bytes it was answered with.
func (d *durableServer) size(ctx context.Context, method, url string, body []byte) (int64, http.Header, error) {
	response, err := d.do(ctx, method, url, body)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	return n, response.Header, err
}

func (d *durableServer) create(ctx context.Context, streams int) error {
	for i := range streams {
		if _, _, err := d.size(ctx, http.MethodPut, d.url(strconv.Itoa(i)), nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *durableServer) post(ctx context.Context, stream int, payload []byte) error {
	_, _, err := d.size(ctx, http.MethodPost, d.url(strconv.Itoa(stream)), payload)
	return err
}

// posts appends over so many connections.
func posts(streams int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		d, err := serveDurable(ctx, "durable", b.url)
		if err != nil {
			return nil, nil, err
		}
		payload := make([]byte, posted)
		return func(ctx context.Context) (sample, error) {
			return b.rateOf(ctx, d.cpu, writers, 1, func(ctx context.Context, caller int) error {
				return d.post(ctx, caller%streams, payload)
			})
		}, d.stop, d.create(ctx, streams)
	}
}

// evented measures a reader of an event stream in a process of its own.
func evented(ctx context.Context, b *bed) (turn, func() error, error) {
	d, err := serveDurable(ctx, "durable", b.url)
	if err != nil {
		return nil, nil, err
	}
	if err := d.create(ctx, 1); err != nil {
		return nil, d.stop, err
	}
	p, err := spawn(ctx, "events", d.url("0"))
	if err != nil {
		return nil, d.stop, err
	}
	return paced(b, p, func(ctx context.Context, payload []byte) error { return d.post(ctx, 0, payload) }),
		func() error { return errors.Join(p.stop(), d.stop()) }, nil
}

// events gives the bytes of each event of a stream. The first call has none: it says that the reader is there.
func events(body io.Reader, got func([]byte)) error {
	lines := bufio.NewScanner(body)
	for first := true; lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		switch {
		case !ok:
		case first:
			first = false
			got(nil)
		default:
			// An event that is no data is JSON.
			if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(data)); err == nil {
				got(b)
			}
		}
	}
	return lines.Err()
}

func eventCrowd(ctx context.Context, b *bed, segments int) (*crowd, error) {
	d, err := serveDurable(ctx, "durable", b.url)
	if err != nil {
		return nil, err
	}
	if err := d.create(ctx, segments); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	c := &crowd{server: d.process, publish: d.post, close: d.stop}
	c.join = func(ctx context.Context, segment int) error {
		response, err := d.do(ctx, http.MethodGet, d.url(strconv.Itoa(segment))+"?live=sse&offset=-1", nil)
		if err != nil {
			return err
		}
		ready := make(chan struct{}, 1)
		c.readers.Go(func() {
			defer response.Body.Close()
			defer close(ready)
			_ = events(response.Body, func(b []byte) { // ends with ctx
				if len(b) == 0 {
					ready <- struct{}{}
				}
				c.arrived.Add(int64(len(b) / len(last)))
			})
		})
		<-ready
		return nil
	}
	return c, nil
}

// catching has the readers read everything at once, several times; the figure is in megabytes a second.
func catching(b *bed, d *durableServer, read func(ctx context.Context) (int64, error)) turn {
	const repeats = 10
	return func(ctx context.Context) (sample, error) {
		var sum atomic.Int64
		errs := make([]error, catchers)
		var all sync.WaitGroup
		spent := b.meter(d.cpu)
		for i := range errs {
			all.Go(func() {
				for range repeats {
					n, err := read(ctx)
					if err = errors.Join(err, complete(int(n), messages*posted)); err != nil {
						errs[i] = err
						return
					}
					sum.Add(n)
				}
			})
		}
		all.Wait()
		return spent(float64(sum.Load()) / 1e6), errors.Join(errs...)
	}
}

func download(ctx context.Context, b *bed) (turn, func() error, error) {
	d, err := serveDurable(ctx, "file")
	if err != nil {
		return nil, nil, err
	}
	return catching(b, d, func(ctx context.Context) (int64, error) {
		n, _, err := d.size(ctx, http.MethodGet, "http://"+d.line, nil)
		return n, err
	}), d.stop, nil
}

func catchUp(ctx context.Context, b *bed) (turn, func() error, error) {
	d, err := serveDurable(ctx, "durable", b.url)
	if err != nil {
		return nil, nil, err
	}
	if err := d.create(ctx, 1); err != nil {
		return nil, d.stop, err
	}
	s, done, err := b.store(ctx, uuid.Nil, nil)
	if err != nil {
		return nil, d.stop, err
	}
	send, payload := appendTo(s, "0"), make([]byte, posted)
	for i := 0; i < messages && err == nil; i++ {
		err = send(ctx, payload)
	}
	return catching(b, d, func(ctx context.Context) (sum int64, err error) {
		for at, more := "-1", true; more; {
			n, header, err := d.size(ctx, http.MethodGet, d.url("0")+"?offset="+at, nil)
			if err != nil {
				return 0, err
			}
			sum += n
			at, more = header.Get("Stream-Next-Offset"), header.Get("Stream-Up-To-Date") == ""
		}
		return sum, nil
	}), d.stop, errors.Join(err, done())
}
