// Package rotation says what the log needs next for the keys to live by their
// policies, and on the leader proposes it.
//
// Deciding and acting are apart. Plan, Next and Explain are pure functions of one
// pinned View and an instant; Loop is the goroutine that runs them. Nothing in the
// state changes because time passed: time only makes Plan return a step.
//
// A wrong or late Plan is harmless. Each step carries the revisions of the rows it
// was planned on, and Apply judges it again by its own clock; whatever moved
// meanwhile makes a conflict, and the next pass plans afresh. So two nodes that both
// believe they lead, or a pass over an old View, cost log entries and nothing else.
package rotation
