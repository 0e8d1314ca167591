// Command asker is how the tests of this repository ask an edge with the Go client: a question on each line of its
// standard input, an answer on each line of its output. See tests/integration/askers.py.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	testcast "testcast.example/go"
)

type question struct {
	Do     string `json:"do"`
	URL    string `json:"url"`
	TestID string `json:"testId"`
	// After, Epoch and By are of "follow".
	After int64              `json:"after"`
	Epoch string             `json:"epoch"`
	By    testcast.Transport `json:"by"`
	// Title and Messages are of "publish".
	Title    string   `json:"title"`
	Messages []string `json:"messages"`
}

type answer struct {
	Reset      *string  `json:"reset"`
	Seqs       []int64  `json:"seqs"`
	Messages   []string `json:"messages,omitempty"`
	Outcomes   []string `json:"outcomes,omitempty"`
	Verdict    string   `json:"verdict,omitempty"`
	TestID     string   `json:"testId,omitempty"`
	Transport  string   `json:"transport,omitempty"`
	Retries    int      `json:"retries"`
	Codes      []string `json:"codes,omitempty"`
	Error      string   `json:"error,omitempty"`
	Statistics any      `json:"statistics,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if err := out.Encode(told(asked)); err != nil {
			os.Exit(1)
		}
	}
}

func told(asked question) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	client, err := testcast.New(asked.URL, testcast.Options{})
	if err != nil {
		return answer{Error: err.Error()}
	}
	if asked.Do == "publish" {
		return publish(ctx, client, asked)
	}
	return follow(ctx, client, asked)
}

func follow(ctx context.Context, client *testcast.Client, asked question) answer {
	found := answer{Seqs: []int64{}}
	options := testcast.FollowOptions{
		After:   testcast.Position{Epoch: asked.Epoch, Seq: asked.After},
		OnSync:  func(sync *testcast.Sync) { found.Outcomes = append(found.Outcomes, sync.Outcome) },
		OnRetry: func(error, int, time.Duration) { found.Retries++ },
	}
	if asked.By != "" {
		options.Transports = []testcast.Transport{asked.By}
	}
	follower := client.Follow(asked.TestID, options)
	for item, err := range follower.Items(ctx) {
		if err != nil {
			found.Error = err.Error()
			break
		}
		switch item := item.(type) {
		case *testcast.RunEvent:
			found.Seqs = append(found.Seqs, item.Seq)
			found.Messages = append(found.Messages, item.Message)
		case *testcast.Reset:
			found.Reset = &item.Reason
		}
	}
	found.Verdict = string(follower.Verdict())
	found.Transport = string(follower.Statistics().Transport)
	return found
}

// publish plays a run, and then writes to it what has to be refused.
func publish(ctx context.Context, client *testcast.Client, asked question) answer {
	run, err := client.CreateRun(ctx, testcast.NewRun{Title: asked.Title, Labels: map[string]string{"by": "go"}})
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{TestID: run.TestID}
	fail := func(err error) answer {
		found.Error = err.Error()
		return found
	}
	if err := run.StartPhase(ctx, 1, "Loading"); err != nil {
		return fail(err)
	}
	events := make([]testcast.Event, len(asked.Messages))
	for index, message := range asked.Messages {
		events[index] = testcast.Event{Type: testcast.TypeProgress, Message: message}
	}
	if err := run.Publish(ctx, events...); err != nil {
		return fail(err)
	}
	other := client.OpenRun(run.TestID, run.Seq()-1)
	found.Codes = append(found.Codes, code(other.Progress(ctx, "late", nil)))
	found.Codes = append(found.Codes, code(run.Publish(ctx, testcast.Event{Type: testcast.TypeProgress, Phase: "phase9"})))
	if err := run.Complete(ctx, "Done", 81, map[string]int{"fps": 60}); err != nil {
		return fail(err)
	}
	found.Codes = append(found.Codes, code(run.Progress(ctx, "after the end", nil)))
	found.Codes = append(found.Codes, code(client.OpenRun(asked.TestID, 0).Progress(ctx, "nowhere", nil)))
	return found
}

func code(err error) string {
	var refused *testcast.APIError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return fmt.Sprint(err)
}
