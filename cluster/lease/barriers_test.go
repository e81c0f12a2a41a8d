//go:build !race

package lease

const barriersPlayed = 10_000
