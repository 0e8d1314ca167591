package testcast

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Codes of an [*APIError], to compare with errors.Is.
var (
	// ErrNotFound: there is no such run, or the caller may not see it.
	ErrNotFound = errors.New("not_found")
	// ErrUnauthenticated: the edge wants a proof of who asks, or another one.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrForbidden: the caller may not do that.
	ErrForbidden = errors.New("forbidden")
	// ErrConflict: somebody else has written to the run. [APIError.Head] is its newest event.
	ErrConflict = errors.New("conflict")
	// ErrKeyReused: the key of a batch was used for other events.
	ErrKeyReused = errors.New("key_reused")
	// ErrAlreadyEnded: the run has a terminal event.
	ErrAlreadyEnded = errors.New("already_ended")
	// ErrMalformedEvent: one of the events is none; the message names it and says why.
	ErrMalformedEvent = errors.New("malformed_event")
)

// APIError is a refusal of an edge. The same request is refused again, except where [APIError.Temporary] says so.
type APIError struct {
	// Status is the HTTP status; 0 where the error came on a stream.
	Status int
	// Code is one of broker/PROTOCOL.md, or "bad_answer": what answers is no edge.
	Code    string
	Message string
	// Details are figures for programs; nil where there are none.
	Details json.RawMessage
	// RetryAfter is when the edge asks to come back; 0 where it does not say.
	RetryAfter time.Duration
}

// Error says what the edge said.
func (e *APIError) Error() string { return fmt.Sprintf("testcast: %s (%s)", e.Message, e.Code) }

// Is compares the code with one of the Err… values.
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrNotFound, ErrUnauthenticated, ErrForbidden, ErrConflict, ErrKeyReused, ErrAlreadyEnded, ErrMalformedEvent:
		return e.Code == target.Error()
	}
	return false
}

// Temporary says whether the same request may succeed later.
func (e *APIError) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
}

// Head returns the newest sequence of the run, of a conflict; 0 where the error does not say.
func (e *APIError) Head() int64 {
	var details struct {
		Head int64 `json:"head"`
	}
	_ = json.Unmarshal(e.Details, &details) // no details: no head
	return details.Head
}

// ConnectionLost says that the edge does not answer, and that the client has stopped trying.
type ConnectionLost struct {
	// Position is up to where everything was delivered; resume after it.
	Position Position
	// Attempts that failed in a row.
	Attempts int
	// Err is what the last of them met.
	Err error
}

// Error says what the last attempt met.
func (e *ConnectionLost) Error() string {
	return fmt.Sprintf("testcast: lost the connection to the edge after %d attempts: %v", e.Attempts, e.Err)
}

// Unwrap returns what the last attempt met.
func (e *ConnectionLost) Unwrap() error { return e.Err }

// Unsettled says that it is not known how much of a batch is stored. The next [Run.Publish] or [Run.Settle] sends the
// batch again, under its key: do not hand in its events once more.
type Unsettled struct {
	// Events of the batch.
	Events int
	// Err is what the last attempt met.
	Err error
}

// Error says what the last attempt met.
func (e *Unsettled) Error() string {
	return fmt.Sprintf("testcast: it is not known whether %d events are stored: %v", e.Events, e.Err)
}

// Unwrap returns what the last attempt met.
func (e *Unsettled) Unwrap() error { return e.Err }

// refusal reads the error of an answer.
func refusal(answer *http.Response, body []byte) *APIError {
	var said struct {
		Error *struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Details json.RawMessage `json:"details"`
		} `json:"error"`
	}
	found := &APIError{Status: answer.StatusCode, RetryAfter: retryAfter(answer.Header)}
	if err := json.Unmarshal(body, &said); err != nil || said.Error == nil || said.Error.Code == "" {
		found.Code = "bad_answer"
		found.Message = fmt.Sprintf("HTTP %d from something that is no edge", answer.StatusCode)
		return found
	}
	found.Code, found.Message, found.Details = said.Error.Code, said.Error.Message, said.Error.Details
	return found
}

func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}
