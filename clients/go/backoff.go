package testcast

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// maxAttempts is after how many failures in a row a client gives up: about three minutes after the first.
	maxAttempts = 10
	// maxRetryAfter is the longest delay that an edge may ask for.
	maxRetryAfter = time.Minute
)

var delays = [...]time.Duration{1, 2, 4, 8, 16, 30}

// delay is what a client waits after so many failures in a row, from 1: 1, 2, 4, 8, 16, 30, 30 … s, each times 0.8 to
// 1.0. chance, from 0 up to 1, spreads the clients that have lost the same edge.
func delay(failures int, chance float64) time.Duration {
	seconds := delays[min(max(failures, 1), len(delays))-1] * time.Second
	return time.Duration(float64(seconds) * (0.8 + 0.2*chance))
}

// pause waits, and returns the context's error when that ends first.
func pause(ctx context.Context, how time.Duration) error {
	if how <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(how)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func chance() float64 { return rand.Float64() }
