// Command testcast-tail prints a run of testcast as it happens, through an edge.
//
//	testcast-tail [-edge URL] [-after EPOCH.SEQ] [-by sse|poll|rpc] [-json] TEST-ID
//
// The exit status is 0 when the run has completed, 1 when it has failed, 2 for wrong usage or an unknown run, 3 when the
// connection was lost for good, 130 after Ctrl-C. A note says where to resume.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	testcast "testcast.example/go"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(arguments []string) int {
	flags := flag.NewFlagSet("testcast-tail", flag.ContinueOnError)
	edge := flags.String("edge", "http://127.0.0.1:8000", "address of the edge")
	after := flags.String("after", "", "position to resume after, as `EPOCH.SEQ`")
	by := flags.String("by", "", "the only way to read: sse, poll or rpc; by default the first that works")
	asJSON := flags.Bool("json", false, "one line of JSON for each event, as viewers receive it")
	tokenFile := flags.String("token-file", os.Getenv("TESTCAST_TOKEN_FILE"), "file with a token")
	if err := flags.Parse(arguments); err != nil {
		return 2
	}
	options := testcast.Options{}
	if *tokenFile != "" {
		options.Token = func(context.Context) (string, error) {
			text, err := os.ReadFile(*tokenFile)
			return string(text), err
		}
	}
	client, err := testcast.New(*edge, options)
	if err != nil {
		return usage(err)
	}
	testID, err := testcast.ParseTestID(flags.Arg(0))
	if err != nil {
		return usage(err)
	}
	follow := testcast.FollowOptions{OnRetry: func(err error, attempt int, wait time.Duration) {
		fmt.Fprintf(os.Stderr, "%v; attempt %d in %.0f s\n", err, attempt+1, wait.Seconds())
	}}
	if follow.After, err = testcast.ParsePosition(*after); err != nil {
		return usage(err)
	}
	if *by != "" {
		follow.Transports = []testcast.Transport{testcast.Transport(*by)}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return tail(ctx, client.Follow(testID, follow), *asJSON)
}

func usage(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 2
}

func tail(ctx context.Context, follower *testcast.Follower, asJSON bool) int {
	for item, err := range follower.Items(ctx) {
		if err != nil {
			return ended(err, follower.Position())
		}
		switch item := item.(type) {
		case *testcast.RunEvent:
			if asJSON {
				fmt.Println(string(item.Raw))
			} else {
				fmt.Println(line(item))
			}
		case *testcast.Reset:
			if asJSON {
				said, _ := json.Marshal(map[string]string{"type": "reset", "testId": item.TestID, "reason": item.Reason, "epoch": item.Epoch})
				fmt.Println(string(said))
			} else {
				fmt.Printf("-- earlier events may be missing (%s)\n", item.Reason)
			}
		}
	}
	if follower.Verdict() != testcast.Completed {
		return 1
	}
	return 0
}

func line(event *testcast.RunEvent) string {
	at := time.UnixMilli(event.Timestamp).Format("15:04:05")
	return strings.TrimRight(fmt.Sprintf("%s  %-8s %-6s  %s", at, event.Type, event.Phase, printable(event.Message)), " ")
}

// printable is a message without what would steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, text)
}

func ended(err error, at testcast.Position) int {
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "the run goes on; resume with -after %s\n", at)
		return 130
	}
	fmt.Fprintln(os.Stderr, err)
	var lost *testcast.ConnectionLost
	switch {
	case errors.Is(err, testcast.ErrNotFound):
		return 2
	case errors.As(err, &lost):
		fmt.Fprintf(os.Stderr, "resume with -after %s\n", lost.Position)
		return 3
	}
	return 1
}
