package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// text is what the answers say, over and over.
const text = `A stream lives in Redis, and not in the process that serves it. Kill the gateway that this pane reads from: the pane goes on at the
other one, after the last word that it has. Kill both, and it waits. Restart Redis, and the words that nobody could store meanwhile come
in one go. Nothing is lost, nothing is repeated, and the end is always told. The producer is a process of its own, too: it numbers its
words, sends each one again until it is stored, and another one may take over in the middle of a sentence. Whoever comes late gets
everything from the start. Whoever comes back gets the rest.`

var vocabulary = strings.Fields(text)

// A word is a chunk of the answer. Its number lets the page see what is missing or comes twice.
type word struct {
	Number int    `json:"n"`
	Text   string `json:"w"`
}

// retryPause is the time after which a request is made again that no gateway answered.
const retryPause = 100 * time.Millisecond

// A producer says the words of an answer over HTTP, at whatever gateway is there.
type producer struct {
	d      *demo
	number int
	id     string
	token  string
	next   int // the number of the next chunk
	base   int // the words of the generations before
}

// ask begins another answer.
func (d *demo) ask(ctx context.Context) {
	id := "answer-" + rand.Text()[:8]
	d.mu.Lock()
	if d.answer.stop != nil {
		d.answer.stop()
	}
	d.answer = answer{ID: id, State: "starting"}
	d.mu.Unlock()
	d.produce(ctx, id, 1, false)
}

// takeOver begins another producer of the same answer. The one before learns that from its next word.
func (d *demo) takeOver(ctx context.Context) error {
	d.mu.Lock()
	now := d.answer
	d.answer.taking = now.State == producing
	d.mu.Unlock()
	switch {
	case now.State != producing:
		return errors.New("the answer has no producer: there is nothing to take over")
	case now.taking:
		return errors.New("a producer is taking over already")
	}
	d.note("producer %d takes over", now.Producer+1)
	d.produce(ctx, now.ID, now.Producer+1, true)
	return nil
}

const producing = "producing"

func (d *demo) produce(ctx context.Context, id string, number int, takeover bool) {
	ctx, stop := context.WithCancel(ctx)
	d.mu.Lock()
	d.answer.stop = stop
	d.mu.Unlock()
	p := &producer{d: d, id: id, number: number}
	d.work.Go(func() {
		defer stop()
		err := p.run(ctx, takeover)
		if takeover {
			p.show(func(a *answer) { a.taking = false })
		}
		var refused *refusal
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.As(err, &refused) && refused.Code == "fenced":
			d.note("producer %d is refused from now on: another one took over", number)
		default:
			d.note("producer %d ends: %v", number, err)
		}
	})
}

// stop asks for the end of the answer, as the stop button of any page does.
func (d *demo) stop(ctx context.Context) error {
	d.mu.Lock()
	id := d.answer.ID
	d.mu.Unlock()
	asking, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	p := &producer{d: d, id: id}
	_, err := p.call(asking, http.MethodPost, "/cancel?wait=0", "", []byte(`{"reason":"the stop button"}`))
	return d.noted(err, "the producer was asked to stop")
}

func (p *producer) run(ctx context.Context, takeover bool) error {
	before := earlier{}
	if takeover {
		var err error
		if before, err = p.before(ctx); err != nil {
			return err
		}
	}
	// The key makes the request safe to repeat.
	p.token = rand.Text()
	begun, err := p.call(ctx, http.MethodPut, "", "", fmt.Appendf(nil, `{"takeover":%t}`, takeover))
	if err != nil {
		return err
	}
	p.token = begun.Producer
	if takeover {
		rest, err := p.rest(ctx, before.Cursor)
		if err != nil {
			return err
		}
		p.base = before.Metadata.Base + before.Chunks + rest
	}
	if _, err := p.call(ctx, http.MethodPatch, "", "", fmt.Appendf(nil, `{"metadata":{"base":%d}}`, p.base)); err != nil {
		return err
	}
	p.next = 1
	p.show(func(a *answer) {
		a.Generation, a.Producer, a.State, a.taking = begun.Generation, p.number, producing, false
	})
	p.d.note("producer %d says words %d and so on, as generation %d", p.number, p.base+1, begun.Generation)
	listening, stop := context.WithCancel(ctx)
	asked := make(chan string, 1)
	p.d.work.Go(func() { p.listen(listening, asked) })
	defer stop()
	return p.say(ctx, asked)
}

// say publishes one word at a time. Words that could not be stored go with later ones.
func (p *producer) say(ctx context.Context, asked <-chan string) error {
	clock := time.NewTicker(p.d.o.Pause)
	defer clock.Stop()
	for said := p.base; said < p.d.o.Words; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case reason := <-asked:
			return p.end(ctx, map[string]any{"kind": "cancelled", "reason": reason})
		case <-clock.C:
			said++
		}
		p.show(func(a *answer) { a.Words, a.Waiting = said, said-p.base-p.next+1 })
		if err := p.store(ctx, said); err != nil {
			return err
		}
		p.show(func(a *answer) { a.Waiting = said - p.base - p.next + 1 })
	}
	for p.base+p.next <= p.d.o.Words {
		if err := pauseFor(ctx, retryPause); err != nil {
			return err
		}
		if err := p.store(ctx, p.d.o.Words); err != nil {
			return err
		}
	}
	return p.end(ctx, map[string]any{"kind": "done", "output": map[string]int{"words": p.d.o.Words}})
}

// mostAtOnce is how many words go into one request.
const mostAtOnce = 500

// store makes one attempt to store what was said so far.
func (p *producer) store(ctx context.Context, said int) error {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	for n := p.base + p.next; n <= min(said, p.base+p.next+mostAtOnce-1); n++ {
		_ = lines.Encode(word{n, vocabulary[(n-1)%len(vocabulary)]}) // a buffer takes everything
	}
	if body.Len() == 0 {
		return nil
	}
	stored, err := p.try(ctx, http.MethodPost, fmt.Sprintf("/chunks?first=%d", p.next), "application/x-ndjson", body.Bytes())
	if errors.Is(err, errAway) {
		return nil
	}
	if err == nil {
		p.next = stored.Next
	}
	return err
}

func (p *producer) end(ctx context.Context, verdict map[string]any) error {
	body, err := json.Marshal(verdict)
	if err != nil {
		return err
	}
	if _, err = p.call(ctx, http.MethodPost, "/end", "application/json", body); err == nil {
		p.show(func(a *answer) { a.State = fmt.Sprint(verdict["kind"]) })
		p.d.note("producer %d ends the answer: %v", p.number, verdict["kind"])
	}
	return err
}

// listen waits for a request to stop.
func (p *producer) listen(ctx context.Context, asked chan<- string) {
	for {
		answer, err := p.call(ctx, http.MethodGet, "/messages?wait=30s", "", nil)
		if err != nil {
			return
		}
		if answer.Stop != nil {
			asked <- answer.Stop.Reason
			return
		}
	}
}

// show changes what the page shows of the answer, while it is this producer's.
func (p *producer) show(change func(*answer)) {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	if p.d.answer.ID == p.id && p.d.answer.Producer <= p.number {
		change(&p.d.answer)
	}
}

// earlier is the generation that is taken over from.
type earlier struct {
	Chunks   int    `json:"chunks"`
	Cursor   string `json:"cursor"`
	Metadata struct {
		Base int `json:"base"`
	} `json:"metadata"`
}

// before looks at the generation that is produced now, once it has said something.
func (p *producer) before(ctx context.Context) (found earlier, err error) {
	for {
		text, err := p.call(ctx, http.MethodGet, "/status", "", nil)
		if err != nil || text.Chunks > 0 {
			return text.earlier, err
		}
		if err := pauseFor(ctx, retryPause); err != nil {
			return found, err
		}
	}
}

// rest counts what the generation before said after a cursor. Nothing is added to it any more.
func (p *producer) rest(ctx context.Context, cursor string) (chunks int, err error) {
	for {
		n, over, err := p.follow(ctx, &cursor)
		chunks += n
		if over || err != nil {
			return chunks, err
		}
		if err := pauseFor(ctx, retryPause); err != nil {
			return chunks, err
		}
	}
}

// follow reads an event stream until it ends, and moves cursor on; over says that the verdict came.
func (p *producer) follow(ctx context.Context, cursor *string) (chunks int, over bool, err error) {
	response, err := p.request(ctx, http.MethodGet, "?cursor="+*cursor, "", nil)
	if errors.Is(err, errAway) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer response.Body.Close()
	lines, id, name := bufio.NewScanner(response.Body), "", ""
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "id":
			id = value
		case field == "event":
			name = value
		case field == "" && name == "end":
			return chunks, true, nil
		case field == "" && name == "error":
			return chunks, false, errors.New("the answer before cannot be read")
		case field == "" && id != "":
			chunks, *cursor, id = chunks+1, id, ""
		}
	}
	return chunks, false, nil // the connection was cut
}

// said is what a gateway answers a producer.
type said struct {
	earlier
	Generation uint64 `json:"generation"`
	Producer   string `json:"producer"`
	Next       int    `json:"next"`
	Stop       *struct {
		Reason string `json:"reason"`
	} `json:"stop"`
}

// call makes a request until a gateway answers it. It is one that may be made again.
func (p *producer) call(ctx context.Context, method, action, kind string, body []byte) (said, error) {
	for {
		answer, err := p.try(ctx, method, action, kind, body)
		if !errors.Is(err, errAway) {
			return answer, err
		}
		if err := pauseFor(ctx, retryPause); err != nil {
			return answer, err
		}
	}
}

func (p *producer) try(ctx context.Context, method, action, kind string, body []byte) (answer said, err error) {
	response, err := p.request(ctx, method, action, kind, body)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		return answer, fmt.Errorf("%w: %w", errAway, err) // an answer that was cut
	}
	return answer, nil
}

// errAway says that no gateway has answered, or none that could.
var errAway = errors.New("no gateway is there")

// requestTime bounds a request: one that hangs is made again, elsewhere.
const requestTime = 40 * time.Second

func (p *producer) request(ctx context.Context, method, action, kind string, body []byte) (*http.Response, error) {
	_, to := choose(p.d.gateways)
	if to == nil {
		return nil, errAway
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	r, err := http.NewRequestWithContext(ctx, method, to.String()+"/v1/live/"+p.id+action, bytes.NewReader(body))
	if err != nil {
		cancel()
		return nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if p.token != "" {
		r.Header.Set("Streamhub-Producer", p.token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	response.Body = &cancelling{response.Body, cancel}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	refused := &refusal{}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(refused); err != nil || response.StatusCode >= 500 {
		return nil, fmt.Errorf("%w: %s", errAway, response.Status)
	}
	return nil, refused
}

// A refusal is the answer of a gateway that does not change when it is asked again.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (r *refusal) Error() string { return r.Code + ": " + r.Message }

// A cancelling body ends the context of its request.
type cancelling struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c *cancelling) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
