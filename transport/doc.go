// Package transport holds what every listener of a node shares: the one table that
// turns errors into wire errors, the bounds of an HTTP server, token buckets, and
// the headers that say which state an answer was computed from.
//
// Threat model. Whoever can open a connection may send anything, slowly, many
// times over. So every resource has a bound here: connections (the longest idle one
// goes first), bytes and time of headers and bodies, requests per address and per
// principal, and requests that wait for a position. Errors never carry what a layer
// below did not mean to show: what is not in the table is "internal", and its text
// goes to the node's log alone.
//
// Concurrency: everything may be used from any goroutine; each type documents its
// own lock.
package transport
