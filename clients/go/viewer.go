package testcast

import (
	"encoding/json"
	"fmt"
)

// viewer is what a reader knows of a run: what each message delivers and where it leaves the position. It does no I/O.
//
// Invariants: an event is delivered if its sequence is above the position, which it then becomes; a Reset is the only
// way back. Every transport uses it: a page of JSON is a sync, its events and a heartbeat.
type viewer struct {
	testID   string
	position Position
	// resumes: the position is one that the edge may be asked to resume after.
	resumes bool
	// head is the newest position of the run that the edge is known to have.
	head       int64
	verdict    Status
	snapshot   *Snapshot
	unreadable int64
	// more: the edge has events after the page that was read last.
	more bool
	// finished: the edge has said that nothing follows.
	finished bool
}

// effects are what follows from a message.
type effects struct {
	items      []Item
	unreadable *Unreadable
	sync       *Sync
	// goodbye: the edge closes the stream.
	goodbye *Goodbye
	// renew: the proof that the stream was opened with has ended.
	renew bool
	// alive: the message shows that the connection works.
	alive bool
}

func newViewer(testID string, after Position) *viewer {
	return &viewer{testID: testID, position: after, resumes: after.Seq > 0}
}

// done says whether the run has ended and all its events were delivered.
func (v *viewer) done() bool {
	return v.finished || (v.verdict != "" && !v.more && v.position.Seq >= v.head)
}

// ask is the position to ask for; the zero Position asks from the first event on.
func (v *viewer) ask() Position {
	if !v.resumes {
		return Position{}
	}
	return v.position
}

// message takes a message of a stream of server-sent events.
func (v *viewer) message(kind string, data []byte) (effects, error) {
	var found effects
	var err error
	switch kind {
	case "", "message":
		found.alive = true
		err = v.event(data, &found)
	case "sync":
		var sync Sync
		if err = json.Unmarshal(data, &sync); err == nil {
			v.sync(&sync, &found)
		}
	case "heartbeat":
		var beat Heartbeat
		if err = json.Unmarshal(data, &beat); err == nil {
			found.alive = true
			v.moveTo(beat.Head)
		}
	case "unreadable":
		var told Unreadable
		if err = json.Unmarshal(data, &told); err == nil {
			v.passedOver(&told, &found)
		}
	case "goodbye":
		var goodbye Goodbye
		if err = json.Unmarshal(data, &goodbye); err == nil {
			found.goodbye = &goodbye
			v.finished = v.finished || goodbye.Reason == "ended"
		}
	case "error":
		var told StreamError
		if err = json.Unmarshal(data, &told); err == nil {
			return found, v.refused(&told, &found)
		}
	} // every other kind is of a newer version
	if err != nil {
		return found, notTheProtocol(err)
	}
	return found, nil
}

// page takes an answer of JSON.
func (v *viewer) page(page *Page) (effects, error) {
	var found effects
	v.sync(&page.Sync, &found)
	v.more = page.More
	v.finished = v.finished || page.Ended
	for _, raw := range page.Events {
		if err := v.event(raw, &found); err != nil {
			return found, notTheProtocol(err)
		}
	}
	if page.Unreadable != nil {
		v.passedOver(page.Unreadable, &found)
	}
	// Messages that are no events have a position, and stand in no page.
	v.moveTo(page.After)
	return found, nil
}

func (v *viewer) sync(sync *Sync, found *effects) {
	found.alive, found.sync = true, sync
	if v.position.Epoch != "" && v.position.Epoch != sync.Epoch {
		v.position.Seq, v.head, v.resumes = 0, 0, false
	}
	v.position.Epoch = sync.Epoch
	if sync.Outcome == WasReset {
		v.position.Seq, v.head, v.resumes, v.verdict, v.snapshot = 0, 0, false, "", nil
		found.items = append(found.items, &Reset{TestID: v.testID, Reason: sync.Reason, Epoch: sync.Epoch})
	}
	v.head = max(v.head, sync.Head)
	if sync.Snapshot != nil {
		v.snapshot = sync.Snapshot
		// It may be ahead of what the edge has released to its viewers: those events still come.
		v.head = max(v.head, sync.Snapshot.Seq)
		if sync.Snapshot.Status.Ended() {
			v.verdict = sync.Snapshot.Status
		}
	}
}

func (v *viewer) event(raw []byte, found *effects) error {
	var place struct {
		Seq *int64 `json:"seq"`
	}
	if err := json.Unmarshal(raw, &place); err != nil {
		return err
	}
	if place.Seq == nil {
		return fmt.Errorf("an event without `seq`: %.100s", raw)
	}
	if *place.Seq <= v.position.Seq {
		return nil
	}
	v.position.Seq, v.resumes = *place.Seq, true
	event := &RunEvent{}
	if json.Unmarshal(raw, event) != nil || !event.Type.Known() {
		return nil // of a form that this version does not know: skipped, and its position counts
	}
	event.Raw = append(json.RawMessage(nil), raw...)
	found.items = append(found.items, event)
	if v.verdict == "" {
		v.verdict = event.Ends()
	}
	return nil
}

func (v *viewer) moveTo(head int64) {
	if head > v.position.Seq {
		v.position.Seq, v.resumes = head, true
	}
}

func (v *viewer) passedOver(told *Unreadable, found *effects) {
	if told.Seq > v.unreadable {
		v.unreadable = told.Seq
		told.TestID = v.testID
		found.unreadable = told
	}
}

// refused returns nil for what ends nothing: the edge goes on by itself when its broker is back.
func (v *viewer) refused(told *StreamError, found *effects) error {
	switch told.Data.Code {
	case "broker_unavailable":
		return nil
	case "token_expired", "token_revoked":
		found.renew = true
		return nil
	}
	return &APIError{Code: told.Data.Code, Message: told.Message}
}

func notTheProtocol(err error) error {
	return &APIError{Code: "bad_answer", Message: fmt.Sprintf("what answers does not speak the protocol of an edge: %v", err)}
}
