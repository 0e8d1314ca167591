package testcast

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// EventType is what an event is. Events of other types than these come from newer versions; readers skip them.
type EventType string

// The types that this version knows.
const (
	TypeStatus   EventType = "status"
	TypeProgress EventType = "progress"
	TypeComplete EventType = "complete"
	TypeError    EventType = "error"
)

// Known says whether this version knows the type.
func (t EventType) Known() bool {
	return t == TypeStatus || t == TypeProgress || t == TypeComplete || t == TypeError
}

// Status is the state of a run.
type Status string

// The states of a run. A run that a person has ended is Failed, with the error code "cancelled".
const (
	Queued    Status = "queued"
	Running   Status = "running"
	Completed Status = "completed"
	Failed    Status = "failed"
)

// Ended says whether nothing but late events follows.
func (s Status) Ended() bool { return s == Completed || s == Failed }

// Phase is "phase1" (load and validate), "phase2" (discover controls), "phase3" (explore gameplay) or "phase4"
// (evaluate and score).
type Phase string

// Event is what an agent publishes.
type Event struct {
	Type EventType `json:"type"`
	// Message is one line for a person.
	Message string `json:"message"`
	// Timestamp is when it happened, in ms since 1970 by the publisher's clock. [Run.Publish] fills in a zero.
	Timestamp int64  `json:"timestamp"`
	Phase     Phase  `json:"phase,omitempty"`
	Status    Status `json:"status,omitempty"`
	// Data is any JSON value, usually an object; nil where there is none.
	Data json.RawMessage `json:"data,omitempty"`
}

// Ends returns how the event ends its run: Completed, Failed, or "" when it does not.
func (e Event) Ends() Status {
	switch {
	case e.Type == TypeComplete:
		return Completed
	case e.Status == Failed && (e.Type == TypeStatus || e.Type == TypeError):
		return Failed
	case e.Status == Completed && e.Type == TypeStatus:
		return Completed
	}
	return ""
}

// RunEvent is an event as viewers receive it: with its run and its place in it.
type RunEvent struct {
	TestID string `json:"testId"`
	// Seq grows within a run; numbers may be missing.
	Seq int64 `json:"seq"`
	Event
	// Raw is the JSON object as it came, with every field that its publisher sent.
	Raw json.RawMessage `json:"-"`
}

// Reset says that events may be missing here: delivery starts again at the oldest event that is kept.
type Reset struct {
	TestID string
	// Reason is "expired" (events after the position are not kept any more, or it is no position of this run),
	// "ahead" (the position is after the newest event) or "epoch" (the broker's history was replaced).
	Reason string
	// Epoch is that of the events that follow.
	Epoch string
}

// Item is a *[RunEvent] or a *[Reset].
type Item interface{ item() }

func (*RunEvent) item() {}
func (*Reset) item()    {}

// Position is a place in a run: everything up to Seq is known. The zero Position is before the first event.
type Position struct {
	// Epoch names the life of the broker's stream that Seq belongs to; "" is taken to be the current one.
	Epoch string
	Seq   int64
}

var lastEventID = regexp.MustCompile(`^([0-9A-Za-z_-]*)\.([0-9]{1,16})$`)

// String is the position as the header Last-Event-ID has it, "<epoch>.<seq>"; "" for the zero Position.
func (p Position) String() string {
	if p == (Position{}) {
		return ""
	}
	return p.Epoch + "." + strconv.FormatInt(p.Seq, 10)
}

// ParsePosition reads what [Position.String] has written.
func ParsePosition(text string) (Position, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Position{}, nil
	}
	found := lastEventID.FindStringSubmatch(text)
	if found == nil {
		return Position{}, fmt.Errorf("testcast: %q is no position: expected <epoch>.<seq>", text)
	}
	seq, err := strconv.ParseInt(found[2], 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("testcast: %q is no position: %w", text, err)
	}
	return Position{Epoch: found[1], Seq: seq}, nil
}

// Snapshot is the state of a run, folded from its events up to (Epoch, Seq). Times are ms since 1970 by the broker's
// clock, 0 where they are not known.
type Snapshot struct {
	TestID     string          `json:"testId"`
	Title      string          `json:"title"`
	GameURL    string          `json:"gameUrl"`
	Status     Status          `json:"status"`
	Phase      Phase           `json:"phase"`
	Message    string          `json:"message"`
	Seq        int64           `json:"seq"`
	CreatedAt  int64           `json:"createdAt"`
	UpdatedAt  int64           `json:"updatedAt"`
	Attempt    int64           `json:"attempt"`
	Score      *float64        `json:"score,omitempty"`
	Metrics    json.RawMessage `json:"metrics,omitempty"`
	StartedAt  int64           `json:"startedAt,omitempty"`
	FinishedAt int64           `json:"finishedAt,omitempty"`
	Worker     string          `json:"worker,omitempty"`
	Error      string          `json:"error,omitempty"`
	// ErrorCode is "cancelled" where a person has ended the run.
	ErrorCode string `json:"errorCode,omitempty"`
	Epoch     string `json:"epoch,omitempty"`
	// Project is nil for "default", and empty where the run has none.
	Project *string           `json:"project,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Phases are the titles of the run's phases, where it names its own; nil: those of testing a game.
	Phases []string `json:"phases,omitempty"`
	// QueuePlace is 1 for the next run of the queue, 0 where it is not known.
	QueuePlace int64 `json:"queuePlace,omitempty"`
	// NoAgent: the run is queued, and no agent is running.
	NoAgent bool `json:"noAgent,omitempty"`
	Pinned  bool `json:"pinned,omitempty"`
	// Stalled: the run has begun and has given no sign of life for 25 s.
	Stalled bool `json:"stalled,omitempty"`
}

// Outcomes of a resume; see [Sync].
const (
	Live      = "live"
	Recovered = "recovered"
	WasReset  = "reset"
)

// Sync says what became of the position that was asked for, before the events that follow it.
type Sync struct {
	TestID string `json:"testId"`
	// Outcome is Live (from the first event), Recovered (exactly the events after the position) or WasReset.
	Outcome string `json:"outcome"`
	// Reason of a reset; see [Reset].
	Reason string `json:"reason,omitempty"`
	Epoch  string `json:"epoch"`
	// Head is the newest event at that moment.
	Head     int64     `json:"head"`
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// Stale: the broker does not answer, and what is shown may be old.
	Stale bool `json:"stale,omitempty"`
}

// Heartbeat comes on an idle stream.
type Heartbeat struct {
	TestID string `json:"testId,omitempty"`
	Head   int64  `json:"head,omitempty"`
	Stale  bool   `json:"stale,omitempty"`
}

// Goodbye comes before the edge closes a stream.
type Goodbye struct {
	RetryAfterMs int64  `json:"retryAfterMs"`
	Reason       string `json:"reason"`
}

// Unreadable counts messages of a run that are no events: its agent publishes something wrong.
type Unreadable struct {
	TestID string `json:"testId,omitempty"`
	// Seq is the position of the newest of them.
	Seq   int64 `json:"seq"`
	Count int64 `json:"count"`
	// Reasons counts them by what is wrong.
	Reasons map[string]int64 `json:"reasons"`
}

// StreamError is a message of the type "error" on a stream, about the request or the end of a proof.
type StreamError struct {
	TestID    string `json:"testId,omitempty"`
	Message   string `json:"message"`
	Timestamp int64  `json:"timestamp"`
	Data      struct {
		Code    string `json:"code"`
		GraceMs int64  `json:"graceMs,omitempty"`
		Deleted bool   `json:"deleted,omitempty"`
	} `json:"data"`
}

// Page is one answer of [Client.GetEvents].
type Page struct {
	Sync
	Events []json.RawMessage `json:"events"`
	// After is the position after the page, which the next one is asked for.
	After int64 `json:"after"`
	// More: there are later events already.
	More bool `json:"more"`
	// Ended: the run has ended, and nothing follows the page. The RPC does not say so.
	Ended      bool        `json:"ended,omitempty"`
	Unreadable *Unreadable `json:"unreadable,omitempty"`
}
