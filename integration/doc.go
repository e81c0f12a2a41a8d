// Package integration holds the tests that look at Chancery from outside: the
// shape of the tree itself, and real processes under load and faults.
package integration
