package fresh

// Clock reads the time that staleness is measured with. It never goes back, and it
// goes on while the machine sleeps where the system has such a clock. Wall time is
// never used: whoever sets the clock would make a stale node fresh.
type Clock interface {
	Now() Instant
}
