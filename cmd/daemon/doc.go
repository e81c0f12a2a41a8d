// Package daemon is the server: it reads the configuration, makes or joins a
// cluster, and puts the layers together: cluster below, authority on top of the
// ledger, transport outside.
//
// Threat model: the process holds the identity key, a CA key and the way to the
// HSM, so it writes no core dump, and nothing it logs names a secret.
//
// Concurrency: a Daemon is started and stopped by one goroutine.
package daemon
