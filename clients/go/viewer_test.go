package testcast

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

const id = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"

func event(seq int, kind string) string {
	return fmt.Sprintf(`{"testId":%q,"seq":%d,"type":%q,"message":"m","timestamp":1}`, id, seq, kind)
}

// told is what items say: "7" for an event, "reset expired" for a reset.
func told(items []Item) []string {
	found := []string{}
	for _, item := range items {
		switch item := item.(type) {
		case *RunEvent:
			found = append(found, fmt.Sprint(item.Seq))
		case *Reset:
			found = append(found, "reset "+item.Reason)
		}
	}
	return found
}

type message struct{ kind, data string }

func TestWhatAStreamDelivers(t *testing.T) {
	sync := func(rest string) message { return message{"sync", `{"testId":"` + id + `","epoch":"e1",` + rest + `}`} }
	for name, each := range map[string]struct {
		after    Position
		messages []message
		items    []string
		position Position
		done     bool
	}{
		"from the first event": {
			Position{},
			[]message{sync(`"outcome":"live","head":3`), {"", event(2, "progress")}, {"", event(3, "progress")}},
			[]string{"2", "3"}, Position{"e1", 3}, false,
		},
		"an event that comes twice": {
			Position{"e1", 2},
			[]message{sync(`"outcome":"recovered","head":3`), {"", event(2, "progress")}, {"", event(3, "progress")}, {"", event(3, "progress")}},
			[]string{"3"}, Position{"e1", 3}, false,
		},
		"a type of another version": {
			Position{"e1", 2},
			[]message{sync(`"outcome":"recovered","head":2`), {"", event(3, "smell")}, {"frame", `{}`}},
			[]string{}, Position{"e1", 3}, false,
		},
		"a field of another form": {
			Position{"e1", 2},
			[]message{{"", `{"testId":"x","seq":3,"type":"progress","message":7,"timestamp":1}`}},
			[]string{}, Position{"e1", 3}, false,
		},
		"a reset": {
			Position{"e1", 9},
			[]message{sync(`"outcome":"reset","reason":"ahead","head":5`), {"", event(4, "progress")}, {"", event(5, "progress")}},
			[]string{"reset ahead", "4", "5"}, Position{"e1", 5}, false,
		},
		"another epoch": {
			Position{"e0", 9},
			[]message{sync(`"outcome":"reset","reason":"epoch","head":4`), {"", event(4, "progress")}},
			[]string{"reset epoch", "4"}, Position{"e1", 4}, false,
		},
		"the end": {
			Position{"e1", 2},
			[]message{sync(`"outcome":"recovered","head":3`), {"", event(3, "complete")}},
			[]string{"3"}, Position{"e1", 3}, true,
		},
		"an end before late events": {
			Position{},
			[]message{sync(`"outcome":"live","head":5`), {"", event(3, "complete")}, {"", event(5, "progress")}},
			[]string{"3", "5"}, Position{"e1", 5}, true,
		},
		"a snapshot ahead of what was released": {
			Position{"e1", 3},
			[]message{sync(`"outcome":"recovered","head":3,"snapshot":{"status":"failed","seq":4}`)},
			[]string{}, Position{"e1", 3}, false,
		},
		"the end at the position": {
			Position{"e1", 4},
			[]message{sync(`"outcome":"recovered","head":4,"snapshot":{"status":"failed","seq":4}`)},
			[]string{}, Position{"e1", 4}, true,
		},
		"a heartbeat past messages that are no events": {
			Position{"e1", 3},
			[]message{{"unreadable", `{"seq":6,"count":1,"reasons":{"it is not JSON":1}}`}, {"heartbeat", `{"testId":"x","head":6}`}},
			[]string{}, Position{"e1", 6}, false,
		},
		"a goodbye with a delay":   {Position{"e1", 3}, []message{{"goodbye", `{"retryAfterMs":5,"reason":"restart"}`}}, []string{}, Position{"e1", 3}, false},
		"a goodbye at the end":     {Position{"e1", 3}, []message{{"goodbye", `{"retryAfterMs":0,"reason":"ended"}`}}, []string{}, Position{"e1", 3}, true},
		"a broker that is away":    {Position{"e1", 3}, []message{{"error", `{"message":"m","data":{"code":"broker_unavailable"}}`}}, []string{}, Position{"e1", 3}, false},
		"a proof that has expired": {Position{"e1", 3}, []message{{"error", `{"message":"m","data":{"code":"token_expired"}}`}}, []string{}, Position{"e1", 3}, false},
	} {
		viewer := newViewer(id, each.after)
		var items []Item
		for _, one := range each.messages {
			found, err := viewer.message(one.kind, []byte(one.data))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			items = append(items, found.items...)
		}
		if !reflect.DeepEqual(told(items), each.items) || viewer.position != each.position || viewer.done() != each.done {
			t.Errorf("%s: %v at %v, done %v", name, told(items), viewer.position, viewer.done())
		}
	}
}

func TestAPageIsASyncItsEventsAndAHeartbeat(t *testing.T) {
	viewer := newViewer(id, Position{})
	snapshot := &Snapshot{Status: Completed, Seq: 2} // the end came early, and others wrote on
	pages := []*Page{
		{Sync: Sync{Outcome: Live, Epoch: "e1", Head: 3, Snapshot: snapshot}, Events: []json.RawMessage{[]byte(event(2, "complete"))}, After: 3, More: true},
		{Sync: Sync{Outcome: Recovered, Epoch: "e1", Head: 9}, Events: []json.RawMessage{[]byte(event(8, "progress"))}, After: 9},
	}
	for index, page := range pages {
		if _, err := viewer.page(page); err != nil || viewer.done() != (index == 1) {
			t.Errorf("page %d: done %v, %v", index, viewer.done(), err)
		}
	}
	if viewer.ask() != (Position{"e1", 9}) || viewer.verdict != Completed {
		t.Errorf("%v %v", viewer.position, viewer.verdict)
	}
}

func TestWhatAStreamTells(t *testing.T) {
	viewer := newViewer(id, Position{"e1", 9})
	read := func(kind, data string) effects {
		found, err := viewer.message(kind, []byte(data))
		if err != nil {
			t.Error(err)
		}
		return found
	}
	read("heartbeat", `{"testId":"x","head":8}`)
	if viewer.position.Seq != 9 {
		t.Error("a heartbeat from behind moves the position back")
	}
	unreadable := `{"testId":"x","seq":12,"count":2,"reasons":{"it is not JSON":2}}`
	if first := read("unreadable", unreadable).unreadable; first == nil || first.Count != 2 || first.Reasons["it is not JSON"] != 2 {
		t.Errorf("%+v", first)
	}
	if again := read("unreadable", unreadable).unreadable; again != nil {
		t.Errorf("told twice: %+v", again)
	}
	for _, code := range []string{"token_expired", "token_revoked", "broker_unavailable"} {
		renew := read("error", `{"message":"m","data":{"code":"`+code+`"}}`).renew
		if renew != strings.HasPrefix(code, "token_") {
			t.Errorf("%s: %v", code, renew)
		}
	}
}

func TestWhatIsNoProtocolIsAnError(t *testing.T) {
	for _, one := range []message{{"", `{"type":"progress"}`}, {"", `[]`}, {"", `nothing`}, {"sync", `7`}, {"heartbeat", `x`}, {"goodbye", `x`}} {
		_, err := newViewer(id, Position{}).message(one.kind, []byte(one.data))
		var refused *APIError
		if !errors.As(err, &refused) || refused.Code != "bad_answer" || temporary(err) {
			t.Errorf("%v: %v", one, err)
		}
	}
	_, err := newViewer(id, Position{}).message("error", []byte(`{"message":"gone","data":{"code":"not_found","deleted":true}}`))
	if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		t.Error(err)
	}
}

func TestEventsOfAStream(t *testing.T) {
	lines := 0
	stream := "\ufeffid: e.1\ndata: {}\n\n: a comment\nevent: sync\r\nid: e.2\r\ndata:{\"a\":\r\ndata: 1}\r\n\r\ndata: x\r\revent: lost\n\nretry: 5\n\ndata\n\ndata: cut off\n"
	for _, size := range []int{1, 2, 1000} {
		reader := newSSEReader(&slow{stream, size}, func() { lines++ })
		for _, expected := range []sseMessage{{"", "{}"}, {"sync", "{\"a\":\n1}"}, {"", "x"}, {"", ""}} {
			if found, err := reader.next(); err != nil || found != expected {
				t.Errorf("%d bytes at a time: %v, %v, expected %v", size, found, err, expected)
			}
		}
		if _, err := reader.next(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
	if lines != 3*18 {
		t.Errorf("%d lines were seen", lines)
	}
	endless := newSSEReader(io.MultiReader(strings.NewReader("data: "), zeros{}), func() {})
	if _, err := endless.next(); !errors.Is(err, errTooLong) {
		t.Error(err)
	}
}

// slow gives a few bytes at a time.
type slow struct {
	text string
	size int
}

func (s *slow) Read(into []byte) (int, error) {
	if s.text == "" {
		return 0, io.EOF
	}
	count := copy(into[:min(len(into), s.size)], s.text)
	s.text = s.text[count:]
	return count, nil
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	for index := range into {
		into[index] = '0'
	}
	return len(into), nil
}

func TestPositionsAreWrittenAndRead(t *testing.T) {
	for _, position := range []Position{{}, {"20261127083015", 7}, {"e", 0}} {
		if found, err := ParsePosition(position.String()); err != nil || found != position {
			t.Errorf("%v: %v, %v", position, found, err)
		}
	}
	for _, wrong := range []string{"7", "e.", "e.x", "e.1.2", "e f.1", "e.99999999999999999"} {
		if found, err := ParsePosition(wrong); err == nil {
			t.Errorf("%q: %v", wrong, found)
		}
	}
}

func TestDelays(t *testing.T) {
	for failures, seconds := range map[int]float64{1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 30, 7: 30, 1000: 30} {
		full := time.Duration(seconds * float64(time.Second))
		if least, most := delay(failures, 0), delay(failures, 1); least != full*8/10 || most != full {
			t.Errorf("%d: %v to %v", failures, least, most)
		}
	}
}

func TestBatchesAreWhatAnEdgeTakes(t *testing.T) {
	large := Event{Type: TypeProgress, Message: strings.Repeat("x", 60_000)}
	for _, each := range []struct {
		events []Event
		sizes  []int
	}{
		{nil, []int{}},
		{make([]Event, 100), []int{100}},
		{make([]Event, 201), []int{100, 100, 1}},
		{[]Event{large, large, large, large, large, large, large, large, large, large, large, large, large, large, large, large}, []int{15, 1}},
	} {
		batches, err := split(each.events)
		sizes := []int{}
		for _, batch := range batches {
			sizes = append(sizes, len(batch))
		}
		if err != nil || !reflect.DeepEqual(sizes, each.sizes) {
			t.Errorf("%d events: %v, %v", len(each.events), sizes, err)
		}
	}
	if _, err := split([]Event{{Data: json.RawMessage("{")}}); err == nil {
		t.Error("data that is no JSON becomes a batch")
	}
}

func TestAddresses(t *testing.T) {
	for _, wrong := range []string{"", "127.0.0.1:8000", "ftp://a", "http://", "http://u:p@a", "http://a/?x=1", "http://a/#x", "http://a\x7f"} {
		if _, err := New(wrong, Options{}); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	client, err := New("https://a.example/b/", Options{})
	if err != nil || client.Edge() != "https://a.example/b" {
		t.Error(client, err)
	}
	if found, err := ParseTestID(" " + strings.ToUpper(id)); err != nil || found != id {
		t.Error(found, err)
	}
	if _, err := ParseTestID("../x"); err == nil {
		t.Error("a path is taken for an id")
	}
}

func TestAnAnswerThatLeadsNowhereIsNotAskedForAgainAtOnce(t *testing.T) {
	asked := 0
	edge := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		asked++
		answer.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(answer, `{"testId":%q,"outcome":"recovered","epoch":"e1","head":9,"events":[],"after":5,"more":true}`, id)
	}))
	defer edge.Close()
	client, err := New(edge.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []Transport{LongPoll, RPC} {
		asked = 0
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		follower := client.Follow(id, FollowOptions{After: Position{Epoch: "e1", Seq: 5}, Transports: []Transport{way}})
		for range follower.Items(ctx) {
		}
		cancel()
		if asked == 0 || asked > 3 {
			t.Errorf("%s: asked %d times", way, asked)
		}
	}
}
