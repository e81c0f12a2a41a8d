// Package client is the Go SDK of Chancery: typed methods for the whole HTTP API,
// a crypto.Signer, and a verifier that needs no server.
//
// It speaks to a cluster, not to a node. A request goes to one address after the
// other until a node carries it out: after a connection error, after an answer
// that says another node may do it, and once after a redirect to the leader. A
// mutation carries a RequestID that stays the same in every attempt, so it happens
// at most once; when its fate cannot be learned the error is an *OutcomeUnknown
// with that id, and repeating the call with WithRequestID settles it.
//
// The client keeps the highest position it has seen and sends it along, so that
// its reads never go back, whichever node answers. When the epoch changes the
// cluster was restored: every call then fails with *EpochChanged until ReAnchor.
//
// Signatures are bounded in time: one whose answer comes later than
// Config.SignDeadline after the request was sent is thrown away, so that a
// signature which was on its way while its key was revoked is not used.
//
// Threat model. Credentials go only over TLS 1.3 to a server whose certificate is
// by the cluster's CA and is a node's (or has the name that was dialled). A
// redirect may name another address of the cluster, never another path or plain
// HTTP. Answers are read up to a limit. A node that lies within the protocol is
// not found out here.
//
// A Client may be used by any number of goroutines. Its one lock guards which
// node was last good and the anchor; it is never held over I/O.
package client
