package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/bench/internal/byhand"
)

func appendRows() []row {
	var all []row
	for _, size := range []int{100, 1024} {
		name := func(text string) string { return fmt.Sprintf("append, %s, %d B", text, size) }
		all = append(all,
			row{
				name: name("64 callers, 64 segments"), unit: "appends/s",
				contestants: []contestant{
					{"go-redis XADD", xadd(64, size), atLeast(1.5)},
					{"streamhub", appends(64, 64, size), target{}},
					{handWritten, scripted(64, 64, size), atLeast(2.5)},
					{"rueidis XADD", rueidisXadd(64, size), target{}},
					{"Centrifuge, history in Redis", centrifugePublish(64, size), atLeast(1.5)},
					{"NATS JetStream", natsPublish(64, size, false), target{}},
					{"NATS JetStream, expected sequence", natsPublish(64, size, true), atLeast(1.5)},
				},
			},
			row{
				name: name("64 callers, one segment"), unit: "appends/s",
				contestants: []contestant{
					{"go-redis XADD", xadd(64, size), atLeast(3)},
					{"streamhub", appends(64, 1, size), target{}},
					{handWritten, scripted(64, 1, size), atLeast(6)},
				},
			},
			row{
				name: name("256 callers, one segment"), unit: "appends/s",
				contestants: []contestant{
					{"go-redis XADD", xadd(256, size), atLeast(4)},
					{"streamhub", appends(256, 1, size), target{}},
					{handWritten, scripted(256, 1, size), target{}},
				},
			},
		)
	}
	byOne := func(figure func(opening) opening, beside target) []contestant {
		return []contestant{
			{handWritten, figure(latencyOf(oneScript)), beside},
			{"streamhub", figure(latencyOf(oneAppend)), target{}},
			{"go-redis EVALSHA of an empty script", figure(latencyOf(emptyScript)), target{}},
			{"go-redis XADD", figure(latencyOf(oneXadd)), target{}},
		}
	}
	asMeasured := func(open opening) opening { return open }
	return append(all,
		row{
			name: "append, one caller alone, cores awake, latency p50", unit: "µs", awake: true,
			contestants: byOne(asMeasured, atMost(1.6)),
		},
		row{
			name: "append, one caller alone, cores awake, CPU of process and Redis", unit: "µs/append", awake: true,
			contestants: byOne(allCPU, atMost(1.5)),
		},
		row{
			name: "append, one caller alone, cores idle otherwise, latency p50", unit: "µs",
			contestants: byOne(asMeasured, target{}),
		},
		row{
			name: "append to one of 100k segments, cores awake, p50", unit: "µs", awake: true,
			contestants: []contestant{
				{"a later append of a process", alone(segments(manySegments).prepare, appendOne), atMost(1.5)},
				{"streamhub, the first of a process to a segment", firstAppends(manySegments), target{}},
			},
		},
		row{
			name: "append without waiting, one caller", unit: "appends/s",
			contestants: []contestant{
				{"go-redis XADD, pipelines of 100", pipelinedXadd(100, 100), target{}},
				{"streamhub AppendAll of 100 segments", appendAll(1, 100), target{}},
				{handWritten + ", pipelines of 100", pipelinedScript(100, 100), target{}},
				{"NATS JetStream, async", natsAsync(100), target{}},
			},
		},
	)
}

// handWritten names the contestants of package byhand.
const handWritten = "hand-written script"

func xadd(callers, size int) opening {
	return func(_ context.Context, b *bed) (turn, func() error, error) {
		client, payload := b.raw(), make([]byte, size)
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, callers, 1, func(ctx context.Context, caller int) error {
				return client.XAdd(ctx, &redis.XAddArgs{Stream: "raw" + strconv.Itoa(caller%64), Values: []any{"d", payload}}).Err()
			})
		}, client.Close, nil
	}
}

// scripted appends by the script. A caller with a segment of its own expects a sequence; the others could not.
func scripted(callers, segments, size int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		client, payload, last := b.raw(), make([]byte, size), make([]int, segments)
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, callers, 1, func(ctx context.Context, caller int) error {
				segment, expected := caller%segments, ""
				if callers == segments {
					last[segment]++
					expected = strconv.Itoa(last[segment])
				}
				return byhand.Append(ctx, client, "hand"+strconv.Itoa(segment), expected, payload)
			})
		}, client.Close, byhand.Load(ctx, client)
	}
}

func appends(callers, segments, size int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		records := []streamhub.Record{{Payload: make([]byte, size)}}
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, callers, 1, func(ctx context.Context, caller int) error {
				_, err := s.Append(ctx, "bench", "s"+strconv.Itoa(caller%segments), records, nil)
				return err
			})
		}, done, nil
	}
}

func rueidisXadd(callers, size int) opening {
	return func(_ context.Context, b *bed) (turn, func() error, error) {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{b.addr}, DisableCache: true})
		if err != nil {
			return nil, nil, err
		}
		payload := string(make([]byte, size))
		turn := func(ctx context.Context) (sample, error) {
			return b.rate(ctx, callers, 1, func(ctx context.Context, caller int) error {
				return client.Do(ctx, client.B().Xadd().Key("rueidis"+strconv.Itoa(caller%64)).Id("*").FieldValue().FieldValue("d", payload).Build()).Error()
			})
		}
		return turn, func() error { client.Close(); return nil }, nil
	}
}

// centrifugePublish publishes with a history in Redis.
func centrifugePublish(callers, size int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		node, err := centrifugeNode(b.addr)
		if err != nil {
			return nil, nil, err
		}
		payload := make([]byte, size)
		turn := func(ctx context.Context) (sample, error) {
			return b.rate(ctx, callers, 1, func(_ context.Context, caller int) error {
				_, err := node.Publish("c"+strconv.Itoa(caller%64), payload, centrifuge.WithHistory(1<<30, time.Hour))
				return err
			})
		}
		return turn, func() error {
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return node.Shutdown(bye)
		}, nil
	}
}

// centrifugeNode is a node whose broker is Redis, or memory where redisAddr is empty.
func centrifugeNode(redisAddr string) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	if redisAddr != "" {
		shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: redisAddr})
		if err != nil {
			return nil, err
		}
		broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
		if err != nil {
			return nil, err
		}
		node.SetBroker(broker)
	}
	return node, node.Run()
}

// natsServer starts a NATS server with JetStream on files in this process, and a client over TCP.
func natsServer(ctx context.Context, b *bed, name string) (jetstream.JetStream, func() error, error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: b.dir + "/" + name, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, nil, err
	}
	s.Start()
	done := func() error { s.Shutdown(); s.WaitForShutdown(); return nil }
	if !s.ReadyForConnections(10 * time.Second) {
		return nil, done, errors.New("NATS does not start")
	}
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		return nil, done, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		return nil, done, err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "bench", Subjects: []string{"s.*"}, Storage: jetstream.FileStorage})
	return js, func() error { conn.Close(); return done() }, err
}

func natsPublish(callers, size int, expect bool) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		js, done, err := natsServer(ctx, b, fmt.Sprint("nats", expect))
		if err != nil {
			return nil, done, err
		}
		payload, last := make([]byte, size), make([]uint64, callers)
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, callers, 1, func(ctx context.Context, caller int) error {
				var opts []jetstream.PublishOpt
				if expect {
					opts = append(opts, jetstream.WithExpectLastSequencePerSubject(last[caller]))
				}
				ack, err := js.Publish(ctx, "s."+strconv.Itoa(caller), payload, opts...)
				if err == nil {
					last[caller] = ack.Sequence
				}
				return err
			})
		}, done, nil
	}
}

func natsAsync(size int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		js, done, err := natsServer(ctx, b, "nats")
		if err != nil {
			return nil, done, err
		}
		payload := make([]byte, size)
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, 1, 100, func(ctx context.Context, _ int) error {
				for i := range 100 {
					if _, err := js.PublishAsync("s."+strconv.Itoa(i), payload); err != nil {
						return err
					}
				}
				<-js.PublishAsyncComplete()
				return nil
			})
		}, done, nil
	}
}

// pipelinedXadd has one caller add 100 entries at once, in turn to so many streams.
func pipelinedXadd(streams, size int) opening {
	return func(_ context.Context, b *bed) (turn, func() error, error) {
		client, payload := b.raw(), make([]byte, size)
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, 1, 100, func(ctx context.Context, _ int) error {
				return addPipelined(ctx, client, 100, payload, func(i int) string { return fmt.Sprint("pipe", streams, "-", i%streams) })
			})
		}, client.Close, nil
	}
}

// addPipelined adds n entries in one pipeline.
func addPipelined(ctx context.Context, client *redis.Client, n int, payload []byte, stream func(i int) string) error {
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			p.XAdd(ctx, &redis.XAddArgs{Stream: stream(i), Values: []any{"d", payload}})
		}
		return nil
	})
	return err
}

// pipelinedScript is pipelinedXadd by the script.
func pipelinedScript(segments, size int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		client, payload, last := b.raw(), make([]byte, size), make([]int, segments)
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, 1, 100, func(ctx context.Context, _ int) error {
				_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
					for i := range 100 {
						last[i%segments]++
						if err := byhand.Append(ctx, p, fmt.Sprint("pipe", segments, "-", i%segments), strconv.Itoa(last[i%segments]), payload); err != nil {
							return err
						}
					}
					return nil
				})
				return err
			})
		}, client.Close, byhand.Load(ctx, client)
	}
}

// appendAll has one caller append to so many segments at once, which lie in so many spaces.
func appendAll(spaces, segments int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		s, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		all := make([]streamhub.Append, segments)
		for i := range all {
			all[i] = streamhub.Append{Space: "bench" + strconv.Itoa(i%spaces), Segment: strconv.Itoa(i), Records: []streamhub.Record{{Payload: make([]byte, 100)}}}
		}
		return func(ctx context.Context) (sample, error) {
			return b.rate(ctx, 1, segments, func(ctx context.Context, _ int) error {
				_, errs := s.AppendAll(ctx, all)
				return errors.Join(errs...)
			})
		}, done, nil
	}
}

// latencyOf measures one caller that does one thing after the other.
func latencyOf(prepare func(context.Context, *bed) (do func(context.Context) error, close func() error, err error)) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		do, done, err := prepare(ctx, b)
		return func(ctx context.Context) (sample, error) {
			return b.timed(ctx, do)
		}, done, err
	}
}

// firstAppends goes to segments that exist, and that the process has not touched yet.
func firstAppends(n int) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		maker, done, err := b.hub(ctx)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context) (_ sample, err error) {
			s, done, err := b.store(ctx, maker.ID(), nil)
			if err != nil {
				return sample{}, err
			}
			defer func() { err = errors.Join(err, done()) }()
			order := rand.Perm(n)
			return b.timed(ctx, func(ctx context.Context) error {
				if len(order) == 0 {
					return errors.New("too few segments for a turn of this length")
				}
				segment := order[0]
				order = order[1:]
				return appendOne(ctx, s, strconv.Itoa(segment))
			})
		}, done, touch(ctx, maker, n)
	}
}

func emptyScript(ctx context.Context, b *bed) (func(context.Context) error, func() error, error) {
	client := b.raw()
	sha, err := client.ScriptLoad(ctx, "#!lua\nreturn 1").Result()
	return func(ctx context.Context) error { return client.EvalSha(ctx, sha, nil).Err() }, client.Close, err
}

func oneXadd(_ context.Context, b *bed) (func(context.Context) error, func() error, error) {
	client, payload := b.raw(), make([]byte, 100)
	return func(ctx context.Context) error {
		return client.XAdd(ctx, &redis.XAddArgs{Stream: "one", Values: []any{"d", payload}}).Err()
	}, client.Close, nil
}

func oneScript(ctx context.Context, b *bed) (func(context.Context) error, func() error, error) {
	client, payload, last := b.raw(), make([]byte, 100), 0
	return func(ctx context.Context) error {
		last++
		return byhand.Append(ctx, client, "one", strconv.Itoa(last), payload)
	}, client.Close, byhand.Load(ctx, client)
}

func oneAppend(ctx context.Context, b *bed) (func(context.Context) error, func() error, error) {
	s, done, err := b.hub(ctx)
	records := []streamhub.Record{{Payload: make([]byte, 100)}}
	return func(ctx context.Context) error {
		_, err := s.Append(ctx, "bench", "one", records, nil)
		return err
	}, done, err
}
