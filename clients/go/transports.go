package testcast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

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
