package testcast

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// maxBatchEvents is what the edge takes at once.
	maxBatchEvents = 100
	// maxBatchBytes leaves room in the MiB that the edge takes, for what stands around the events.
	maxBatchBytes = 900 << 10
)

// NewRun says what a run is of. All of it may be absent.
type NewRun struct {
	Title   string `json:"title,omitempty"`
	GameURL string `json:"gameUrl,omitempty"`
	// Project that the run is of; "": the caller's only one, or "default".
	Project string            `json:"project,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Batch is what [Client.PublishEvents] stores.
type Batch struct {
	// Events, at most 100. Only the last one may end the run.
	Events []Event
	// Key, 1 to 64 of A-Z, a-z, 0-9, _ and -. Sent again with its key, a batch continues after what is stored of it.
	Key string
	// AfterSeq is the newest sequence of the run as the caller knows it: when anybody else has written after it, the
	// answer is ErrConflict. 0: anybody may write, and the key is remembered for 2 minutes only.
	AfterSeq int64
}

// Published says where a batch is.
type Published struct {
	// Seq is the sequence of its last event, the run's newest for an empty batch.
	Seq int64 `json:"seq"`
	// Stored is how many events it has.
	Stored int `json:"stored"`
}

// PublishEvents stores a batch, once: it does not try again.
func (c *Client) PublishEvents(ctx context.Context, testID string, batch Batch) (Published, error) {
	params := map[string]any{"testId": testID, "events": batch.Events, "key": batch.Key}
	if batch.Events == nil {
		params["events"] = []Event{}
	}
	if batch.AfterSeq > 0 {
		params["afterSeq"] = batch.AfterSeq
	}
	var published Published
	err := c.Call(ctx, "publishEvents", params, &published)
	return published, err
}

// Run is a run that this program publishes. It may be used by several goroutines: batches are stored one after the other.
type Run struct {
	// TestID is the run's id.
	TestID string
	// Epoch is the life of the broker's stream in which the run began; "" of a run that was opened.
	Epoch string
	// MaxAttempts is how many failures in a row end an attempt to store a batch; 0: 10.
	MaxAttempts int

	client    *Client
	mutex     sync.Mutex // guards what follows
	seq       int64
	exclusive bool
	phase     Phase
	nonce     string
	batches   int
	pending   *Batch
}

// CreateRun begins a run, whose only writer the caller is: when anybody else writes to it, its methods return
// ErrConflict, or ErrAlreadyEnded where a person has ended the run.
//
// It is tried again only where the edge has surely done nothing, since it could begin two runs.
func (c *Client) CreateRun(ctx context.Context, what NewRun) (*Run, error) {
	var made struct {
		TestID string `json:"testId"`
		Seq    int64  `json:"seq"`
		Epoch  string `json:"epoch"`
	}
	err := again(ctx, maxAttempts, notSent, func() error { return c.Call(ctx, "createRun", what, &made) })
	if err != nil {
		return nil, err
	}
	run := c.OpenRun(made.TestID, made.Seq)
	run.Epoch = made.Epoch
	return run, nil
}

// OpenRun returns a run that exists, to publish more of it.
//
// With afterSeq, the newest sequence that the caller knows, it is the run's only writer, as after CreateRun. With 0 it
// writes beside others; a batch whose answer was lost for more than 2 minutes may then be stored twice.
func (c *Client) OpenRun(testID string, afterSeq int64) *Run {
	var nonce [10]byte
	_, _ = rand.Read(nonce[:]) // it never fails: the runtime ends the program before
	return &Run{
		TestID: testID, client: c, seq: afterSeq, exclusive: afterSeq > 0, nonce: hex.EncodeToString(nonce[:]),
	}
}

// Seq is the sequence of the last event that is known to be stored.
func (r *Run) Seq() int64 {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.seq
}

// Publish stores events, in order, each once. It sends batches again until they are stored, with delays of 1, 2, 4 … 30 s,
// until ctx ends or ten attempts in a row have failed. Then the error is [*Unsettled], and the batch is kept: the next
// Publish sends it first.
//
// A Timestamp of 0 becomes now, and an event without a phase has that of the last [Run.StartPhase].
func (r *Run) Publish(ctx context.Context, events ...Event) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err := r.settle(ctx); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	given := make([]Event, len(events))
	for index, event := range events {
		if event.Timestamp == 0 {
			event.Timestamp = now
		}
		if event.Phase == "" {
			event.Phase = r.phase
		}
		given[index] = event
	}
	batches, err := split(given)
	if err != nil {
		return err
	}
	for _, batch := range batches {
		r.batches++
		r.pending = &Batch{Events: batch, Key: fmt.Sprintf("%s-%d", r.nonce, r.batches)}
		if r.exclusive {
			r.pending.AfterSeq = r.seq
		}
		if err := r.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Settle sends the batch again of which it is not known how much is stored, if there is one.
func (r *Run) Settle(ctx context.Context) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.settle(ctx)
}

func (r *Run) settle(ctx context.Context) error {
	if r.pending == nil {
		return nil
	}
	most := r.MaxAttempts
	if most <= 0 {
		most = maxAttempts
	}
	var published Published
	err := again(ctx, most, temporary, func() error {
		var err error
		published, err = r.client.PublishEvents(ctx, r.TestID, *r.pending)
		return err
	})
	if err != nil && (temporary(err) || ctx.Err() != nil) {
		return &Unsettled{Events: len(r.pending.Events), Err: err}
	}
	r.pending = nil // it is stored, or the edge has refused it for good
	if err == nil {
		r.seq = published.Seq
	}
	return err
}

// StartPhase begins a phase of the run, 1 to 4, which the following events repeat.
func (r *Run) StartPhase(ctx context.Context, phase int, message string) error {
	name := Phase(fmt.Sprintf("phase%d", phase))
	if err := r.Publish(ctx, Event{Type: TypeStatus, Status: Running, Phase: name, Message: message}); err != nil {
		return err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.phase = name
	return nil
}

// Progress tells what the agent does. data is any value that becomes JSON, nil for none.
func (r *Run) Progress(ctx context.Context, message string, data any) error {
	return r.publish(ctx, Event{Type: TypeProgress, Message: message}, data)
}

// Complete ends the run with a score of 0 to 100 and metrics, which may be nil.
func (r *Run) Complete(ctx context.Context, message string, score float64, metrics any) error {
	data := map[string]any{"score": score}
	if metrics != nil {
		data["metrics"] = metrics
	}
	return r.publish(ctx, Event{Type: TypeComplete, Message: message}, data)
}

// Fail ends the run without a score. code is a word for programs, like "game_unreachable".
func (r *Run) Fail(ctx context.Context, message, code string) error {
	return r.publish(ctx, Event{Type: TypeError, Status: Failed, Message: message}, map[string]string{"code": code})
}

func (r *Run) publish(ctx context.Context, event Event, data any) error {
	if data != nil {
		encoded, err := json.Marshal(data)
		if err != nil {
			return fmt.Errorf("testcast: the data of an event: %w", err)
		}
		event.Data = encoded
	}
	return r.Publish(ctx, event)
}

// split makes batches that an edge takes.
func split(events []Event) ([][]Event, error) {
	var batches [][]Event
	begin, size := 0, 0
	for index, event := range events {
		encoded, err := json.Marshal(event)
		if err != nil {
			return nil, fmt.Errorf("testcast: events[%d]: %w", index, err)
		}
		if index > begin && (index-begin >= maxBatchEvents || size+len(encoded)+1 > maxBatchBytes) {
			batches = append(batches, events[begin:index])
			begin, size = index, 0
		}
		size += len(encoded) + 1
	}
	if begin < len(events) {
		batches = append(batches, events[begin:])
	}
	return batches, nil
}

// again calls until it succeeds, ctx ends, it has failed `most` times, or an error is not one to try again after.
func again(ctx context.Context, most int, worth func(error) bool, call func() error) error {
	for failures := 1; ; failures++ {
		err := call()
		if err == nil || ctx.Err() != nil || !worth(err) || failures >= most {
			return err
		}
		wait := delay(failures, chance())
		var refused *APIError
		if errors.As(err, &refused) && refused.RetryAfter > 0 {
			wait = refused.RetryAfter
		}
		if pause(ctx, wait) != nil {
			return err
		}
	}
}
