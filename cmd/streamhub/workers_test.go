package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

func TestWorkers(t *testing.T) {
	url, store := embedded(t)
	if r := good(t, nil, "workers", "--redis", url); r.out != "" || !strings.Contains(r.err, "no workers") {
		t.Errorf("%+v", r)
	}
	id := uuid.New()
	member, err := store.JoinWorkers(within(t), streamhub.Worker{ID: id, Metadata: map[string]string{"zone": "a", "host": "h"}}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = member.Leave(within(t)) }()
	if r := good(t, nil, "workers", "--redis", url); !strings.HasPrefix(r.out, "WORKER ") || !strings.Contains(r.out, id.String()) || !strings.Contains(r.out, "host=h zone=a\n") {
		t.Errorf("%+v", r)
	}
	if r := good(t, nil, "workers", "--json", "--redis", url); !strings.HasPrefix(r.out, `{"worker_id":"`+id.String()) {
		t.Errorf("%+v", r)
	}
}
