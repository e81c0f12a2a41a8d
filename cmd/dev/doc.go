// Package dev runs a whole cluster on one machine, for trying Chancery out: every
// node is a real server process with its own directory, ports and key store
// partition, on the loopback interface.
//
// Concurrency: a Cluster belongs to one goroutine; the processes are watched by
// one goroutine each, and the control socket is served by another.
package dev
