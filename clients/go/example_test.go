package testcast_test

import (
	"context"
	"fmt"

	testcast "testcast.example/go"
)

// What docs/go.md shows. A test in Python holds the page to it; the compiler holds it to the module.

func follow(ctx context.Context, testID string) error {
	client, err := testcast.New("http://127.0.0.1:8000", testcast.Options{})
	if err != nil {
		return err
	}
	follower := client.Follow(testID, testcast.FollowOptions{})
	for item, err := range follower.Items(ctx) {
		if err != nil {
			return err
		}
		switch item := item.(type) {
		case *testcast.RunEvent:
			fmt.Println(item.Seq, item.Message)
		case *testcast.Reset:
			fmt.Println("earlier events are gone:", item.Reason)
		}
	}
	fmt.Println(follower.Verdict())
	return nil
}

func publish(ctx context.Context, client *testcast.Client) error {
	run, err := client.CreateRun(ctx, testcast.NewRun{Title: "My game"})
	if err != nil {
		return err
	}
	if err := run.StartPhase(ctx, 1, "Loading level 1"); err != nil {
		return err
	}
	if err := run.Progress(ctx, "Level loaded", map[string]any{"level": 1}); err != nil {
		return err
	}
	return run.Complete(ctx, "Done", 78, map[string]any{"fps": 60})
}

func resume(ctx context.Context, client *testcast.Client, testID, kept string) (string, error) {
	after, err := testcast.ParsePosition(kept)
	if err != nil {
		return kept, err
	}
	follower := client.Follow(testID, testcast.FollowOptions{After: after})
	for item, err := range follower.Items(ctx) {
		if err != nil { // of a lost connection, too: everything up to the position was delivered
			return follower.Position().String(), err
		}
		fmt.Println(item)
	}
	return follower.Position().String(), nil
}

// Follow a run to its end.
func ExampleClient_Follow() {
	if err := follow(context.Background(), "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"); err != nil {
		fmt.Println(err)
	}
}

// Publish a run.
func ExampleClient_CreateRun() {
	client, err := testcast.New("http://127.0.0.1:8000", testcast.Options{})
	if err == nil {
		err = publish(context.Background(), client)
	}
	if err != nil {
		fmt.Println(err)
	}
}

// Resume where an earlier program stopped.
func ExampleParsePosition() {
	client, _ := testcast.New("http://127.0.0.1:8000", testcast.Options{})
	kept, err := resume(context.Background(), client, "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11", "20261127083015000000000.117")
	fmt.Println(kept, err)
}
