//go:build race

package lease

// The worlds have one goroutine each, so the race detector only slows them down.
const barriersPlayed = 1_000
