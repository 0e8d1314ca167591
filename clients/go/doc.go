// Package testcast follows and publishes runs of testcast through an edge, over plain HTTP.
//
// Reading. [Client.Follow] delivers every event of a run once and in order, across lost connections:
//
//	client, err := testcast.New("http://127.0.0.1:8000", testcast.Options{})
//	…
//	run := client.Follow(testID, testcast.FollowOptions{})
//	for item, err := range run.Items(ctx) {
//		if err != nil {
//			return err
//		}
//		switch item := item.(type) {
//		case *testcast.RunEvent:
//			fmt.Println(item.Seq, item.Message)
//		case *testcast.Reset:
//			fmt.Println("earlier events are gone:", item.Reason)
//		}
//	}
//	fmt.Println(run.Verdict())
//
// It reads server-sent events. Where something between here and the edge does not let them pass, it asks for JSON by
// long polling, and where that does not work either, the RPC. [Client.GetEvents] reads one page.
//
// Publishing. [Client.CreateRun] begins a run and [Run.Publish] stores events: each exactly once, also when an answer
// is lost and the batch is sent again.
//
// Errors of an edge are [*APIError]; errors.Is compares them with [ErrNotFound], [ErrConflict] and the like.
// [*ConnectionLost] carries the position to resume after.
//
// The package needs nothing but the standard library. A [Client] may be used by several goroutines.
package testcast
