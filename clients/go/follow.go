package testcast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Transport is a way to read a run.
type Transport string

// The ways to read a run, in the order in which they are tried.
const (
	// SSE is a stream of server-sent events.
	SSE Transport = "sse"
	// LongPoll asks for JSON, and the edge answers when there is something.
	LongPoll Transport = "poll"
	// RPC asks getEvents every 3 s, which every version of an edge has.
	RPC Transport = "rpc"
)

const (
	// firstMessageTimeout is how long an edge may take for the first message of a stream. "ahead" takes it 2 s.
	firstMessageTimeout = 10 * time.Second
	// silence is how long a stream may be without a line. An edge sends a heartbeat every 15 s: two are missing.
	silence = 35 * time.Second
	// waitFor is below the minute after which many proxies give up a request, and what an edge takes at most (30 s).
	waitFor = 25 * time.Second
	// pollEvery is the time between two questions that do not wait.
	pollEvery = 3 * time.Second
	// avoidFor is how long a way is not tried that does not work, while another does; twice as long each time, up to
	// eight minutes: while it is tried, nothing comes.
	avoidFor = 30 * time.Second
	// lagOfState is how far the state of a run may be behind its events; usually far less.
	lagOfState = 100 * time.Millisecond
	// failuresOfOneWay in a row are taken for a way that does not work here.
	failuresOfOneWay = 2
)

// FollowOptions say how a run is followed.
type FollowOptions struct {
	// After is the position to resume after; the zero Position: from the first event on.
	After Position
	// Transports are the ways to read, the preferred one first; nil: SSE, LongPoll, RPC.
	Transports []Transport
	// MaxAttempts is how many failures in a row end the iteration with [*ConnectionLost]; 0: 10, negative: never.
	MaxAttempts int
	// OnSync is called with the outcome of each resume, before the items that follow from it.
	OnSync func(*Sync)
	// OnUnreadable is called when messages of the run were passed over that are no events.
	OnUnreadable func(*Unreadable)
	// OnRetry is called after an attempt that has failed, with what it met and how long the client waits now.
	OnRetry func(err error, attempt int, wait time.Duration)
}

// Statistics are a follower in numbers, since it was made.
type Statistics struct {
	// Events and Resets delivered.
	Events, Resets int
	// Streams of server-sent events on which something came, and answers to polls.
	Streams, Polls int
	// Failures in a row; 0 while the connection works.
	Failures int
	// Transport of the last attempt.
	Transport Transport
}

// Follower follows one run. Iterate over [Follower.Items] once; its other methods may be called from any goroutine.
type Follower struct {
	client  *Client
	testID  string
	options FollowOptions
	ways    []Transport
	// What follows is of the iterating goroutine alone.
	failed    map[Transport]int
	notBefore map[Transport]time.Time

	mutex  sync.Mutex // guards what follows
	viewer *viewer
	stats  Statistics
}

// Follow returns a follower of a run. Nothing is asked before the iteration begins.
func (c *Client) Follow(testID string, options FollowOptions) *Follower {
	ways := options.Transports
	if len(ways) == 0 {
		ways = []Transport{SSE, LongPoll, RPC}
	}
	return &Follower{
		client: c, testID: testID, options: options, ways: ways,
		failed: map[Transport]int{}, notBefore: map[Transport]time.Time{},
		viewer: newViewer(testID, options.After),
	}
}

// Position is up to where everything was delivered. Keep it to resume there later, on any edge.
func (f *Follower) Position() Position {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.viewer.position
}

// Verdict is how the run has ended, Completed or Failed; "" before that, and where the edge cannot say it.
func (f *Follower) Verdict() Status {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.viewer.verdict
}

// Snapshot is the state of the run that came with the last resume, or after its end; nil before one came. It is not
// folded on with each event.
func (f *Follower) Snapshot() *Snapshot {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.viewer.snapshot
}

// Statistics returns the follower in numbers.
func (f *Follower) Statistics() Statistics {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.stats
}

// errStopped: the caller has left the iteration.
var errStopped = errors.New("stopped")

// Items iterates over the run: each event once and in order, and a Reset where events may be missing. The iteration ends
// with the run. An error is the last item: [*APIError] where the edge refuses, [*ConnectionLost], or the error of ctx.
// Leaving the loop closes the connection.
func (f *Follower) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		err := f.run(ctx, func(item Item) bool { return yield(item, nil) })
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, err)
		}
	}
}

func (f *Follower) run(ctx context.Context, deliver func(Item) bool) error {
	for {
		if f.isDone() {
			return f.settleVerdict(ctx)
		}
		way := f.choose(time.Now())
		f.begin(way)
		wait, err := f.attempt(ctx, way, deliver)
		if errors.Is(err, errStopped) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if wait, err = f.afterFailure(way, err); err != nil {
				return err
			}
		}
		if f.isDone() {
			continue
		}
		if err := pause(ctx, wait); err != nil {
			return context.Cause(ctx)
		}
	}
}

func (f *Follower) isDone() bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.viewer.done()
}

func (f *Follower) begin(way Transport) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.stats.Transport = way
}

// choose returns the preferred way that is not known not to work.
func (f *Follower) choose(now time.Time) Transport {
	for _, way := range f.ways {
		if !now.Before(f.notBefore[way]) {
			return way
		}
	}
	return f.ways[len(f.ways)-1]
}

// afterFailure returns how long to wait before the next attempt, or the error that ends the iteration.
func (f *Follower) afterFailure(way Transport, err error) (time.Duration, error) {
	other := way != f.ways[len(f.ways)-1]
	unsupported := errors.Is(err, errUnsupported)
	if !unsupported && !temporary(err) {
		return 0, err
	}
	f.failed[way]++
	if over := f.failed[way] - failuresOfOneWay; other && (unsupported || over >= 0) {
		f.notBefore[way] = time.Now().Add(avoidFor << min(max(over, 0), 4))
	}
	if unsupported && other {
		return 0, nil
	}
	f.mutex.Lock()
	f.stats.Failures++
	failures, position := f.stats.Failures, f.viewer.position
	f.mutex.Unlock()
	most := f.options.MaxAttempts
	if most == 0 {
		most = maxAttempts
	}
	if most > 0 && failures >= most {
		return 0, &ConnectionLost{Position: position, Attempts: failures, Err: err}
	}
	wait := delay(failures, chance())
	var refused *APIError
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		wait = refused.RetryAfter
	}
	if f.options.OnRetry != nil {
		f.options.OnRetry(err, failures, wait)
	}
	return wait, nil
}

// settleVerdict asks how the run has ended, where the edge has said only that it has. The state of a run may be a moment
// behind its events.
func (f *Follower) settleVerdict(ctx context.Context) error {
	for tries := 0; f.Verdict() == "" && tries < maxAttempts; tries++ {
		if err := pause(ctx, min(time.Duration(tries)*lagOfState, time.Second)); err != nil {
			return context.Cause(ctx)
		}
		if err := f.lookAtEnd(ctx); err != nil && !temporary(err) {
			return err
		}
	}
	return nil
}

// attempt reads by one way until that ends. It returns how long to wait before the next attempt.
func (f *Follower) attempt(ctx context.Context, way Transport, deliver func(Item) bool) (time.Duration, error) {
	switch way {
	case SSE:
		return f.stream(ctx, deliver)
	case LongPoll:
		return f.poll(ctx, deliver)
	case RPC:
		return f.pages(ctx, deliver)
	}
	return 0, finalError{fmt.Errorf("testcast: %q is no transport", way)}
}

// take lets the viewer read a message, and delivers what follows from it.
func (f *Follower) take(way Transport, read func(*viewer) (effects, error), deliver func(Item) bool) (effects, error) {
	f.mutex.Lock()
	found, err := read(f.viewer)
	if found.alive {
		f.stats.Failures = 0
		f.failed[way] = 0
	}
	f.mutex.Unlock()
	if found.sync != nil && f.options.OnSync != nil {
		f.options.OnSync(found.sync)
	}
	for _, item := range found.items {
		f.count(item)
		if !deliver(item) {
			return found, errStopped
		}
	}
	if found.unreadable != nil && f.options.OnUnreadable != nil {
		f.options.OnUnreadable(found.unreadable)
	}
	return found, err
}

func (f *Follower) count(item Item) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if _, is := item.(*Reset); is {
		f.stats.Resets++
	} else {
		f.stats.Events++
	}
}

// errUnsupported: what answers does not know this way, or something in between does not let it pass.
var errUnsupported = errors.New("it is not served here")

func unsupported(answer *http.Response) error {
	return fmt.Errorf("testcast: HTTP %d, %s: %w", answer.StatusCode, answer.Header.Get("Content-Type"), errUnsupported)
}

// refusesWay says whether a refusal is about the way, and not about the run: a version without it, or a proxy.
func refusesWay(err error) bool {
	var refused *APIError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Status {
	case http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
		return true
	case http.StatusNotFound:
		return refused.Code != ErrNotFound.Error()
	}
	return refused.Status < 400 && refused.Status > 0
}

var errSilent = errors.New("testcast: nothing came for too long")

// stream reads server-sent events until the edge closes the stream.
func (f *Follower) stream(ctx context.Context, deliver func(Item) bool) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(firstMessageTimeout, func() { cancel(errSilent) })
	defer watchdog.Stop()
	f.mutex.Lock()
	after := f.viewer.ask()
	f.mutex.Unlock()
	answer, err := f.open(ctx, after)
	if err != nil {
		return 0, because(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNoContent { // the run has ended, and the position is its end
		f.mutex.Lock()
		f.viewer.finished = true
		f.mutex.Unlock()
		return 0, nil
	}
	reader := newSSEReader(answer.Body, func() { watchdog.Reset(silence) })
	var goodbye *Goodbye
	delivered := false
	for {
		message, err := reader.next()
		if err != nil {
			if goodbye != nil {
				return min(time.Duration(goodbye.RetryAfterMs)*time.Millisecond, maxRetryAfter), nil
			}
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, because(ctx, err)
		}
		found, err := f.take(SSE, func(v *viewer) (effects, error) {
			return v.message(message.event, []byte(message.data))
		}, deliver)
		if found.alive && !delivered {
			delivered = true
			f.mutex.Lock()
			f.stats.Streams++
			f.mutex.Unlock()
		}
		if err != nil {
			return 0, err
		}
		if found.renew {
			return 0, nil // the next request has another token, or is refused
		}
		if found.goodbye != nil {
			goodbye = found.goodbye
		}
		if f.isDone() {
			return 0, nil
		}
	}
}

// open asks for the stream. The answer is 200 with events, or 204.
func (f *Follower) open(ctx context.Context, after Position) (*http.Response, error) {
	path := "/tests/" + f.testID + "/events"
	header := http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}
	if after.Epoch != "" {
		header.Set("Last-Event-ID", after.String())
	} else if after.Seq > 0 {
		path += fmt.Sprintf("?after=%d", after.Seq)
	}
	answer, err := f.client.send(ctx, http.MethodGet, path, header, nil)
	if err != nil {
		return nil, err
	}
	isStream := strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream")
	switch {
	case answer.StatusCode == http.StatusNoContent || (answer.StatusCode == http.StatusOK && isStream):
		return answer, nil
	case answer.StatusCode == http.StatusOK:
		_ = answer.Body.Close()
		return nil, unsupported(answer)
	}
	return nil, ofWay(decode(answer, nil))
}

// ofWay marks a refusal that is about the way.
func ofWay(err error) error {
	if refusesWay(err) {
		return fmt.Errorf("%w: %w", errUnsupported, err)
	}
	return err
}

// because names the reason for which a context was cancelled, where that is what ended a request.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// poll asks once, and waits for the answer.
func (f *Follower) poll(ctx context.Context, deliver func(Item) bool) (time.Duration, error) {
	asked, before := time.Now(), f.Position()
	page, err := f.client.waitForEvents(ctx, f.testID, f.ask(), waitFor)
	if err != nil {
		return 0, ofWay(err)
	}
	if err := f.takePage(LongPoll, page, deliver); err != nil {
		return 0, err
	}
	if f.Position() == before && time.Since(asked) < time.Second {
		return pollEvery, nil // something in between has answered at once, and would for ever
	}
	return 0, nil
}

// pages asks for all that is there, page by page.
func (f *Follower) pages(ctx context.Context, deliver func(Item) bool) (time.Duration, error) {
	for {
		before := f.Position()
		page, err := f.client.GetEvents(ctx, f.testID, f.ask(), 0)
		if err != nil {
			return 0, err
		}
		if err := f.takePage(RPC, page, deliver); err != nil {
			return 0, err
		}
		if page.More && f.Position() != before {
			continue
		}
		if len(page.Events) == 0 && page.Snapshot == nil {
			return pollEvery, f.lookAtEnd(ctx)
		}
		return pollEvery, nil
	}
}

func (f *Follower) ask() Position {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.viewer.ask()
}

func (f *Follower) takePage(way Transport, page *Page, deliver func(Item) bool) error {
	f.mutex.Lock()
	f.stats.Polls++
	f.mutex.Unlock()
	_, err := f.take(way, func(v *viewer) (effects, error) { return v.page(page) }, deliver)
	return err
}

// lookAtEnd asks whether the run has ended at the position: a page after the last event has nothing that says so.
func (f *Follower) lookAtEnd(ctx context.Context) error {
	snapshot, err := f.client.GetTest(ctx, f.testID)
	if err != nil {
		return err
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.viewer.snapshot = snapshot; snapshot.Status.Ended() {
		f.viewer.verdict = snapshot.Status
		f.viewer.head = max(f.viewer.head, snapshot.Seq)
	}
	return nil
}
