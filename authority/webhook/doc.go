// Package webhook tells other systems of events: the leader posts each event that a
// webhook asks for, as a JWS of its status key, in the order of the log.
//
// Nothing waits for a receiver. What is still to be sent is no queue but a place in the
// log, which every replica has: it costs nothing however long a receiver is away, and
// each webhook has its own. The place is written down every few seconds
// (command.NoteDelivered), so after a change of the leader, and only then, the last
// events come twice; a receiver knows them by their number.
//
// Threats. Who can set webhooks can make the leader speak to a host: https only, with
// the certificate checked, or http to the node itself; no redirects, no proxy, no more
// than a few KiB of answer read. A receiver cannot tell a forged event from a true one
// by its sender, so it checks the signature (client.VerifyEvent).
//
// Concurrency. One goroutine (Run) keeps one more for each webhook while this node
// leads. They share a progress under its lock, and nothing else.
package webhook
