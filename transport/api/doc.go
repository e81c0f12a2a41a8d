// Package api is the HTTPS API of a node: JSON over HTTP for callers with an
// identity. One table of routes says for each path who may come, how large a body
// may be, what it reads and writes, and which function carries it out; the OpenAPI
// description is generated from the same table.
//
// Threat model. A caller is whoever owns the private key of a client certificate,
// or a bearer token, that the replicated state knows; nothing else about a
// certificate or a header is believed. A write is decided on the leader only: a
// token is forwarded there and looked up again, a client certificate is redirected,
// so no node ever vouches for another's caller. Bodies are read within bounds of
// size and time and decoded strictly; what cannot be decoded is a 4xx, and a panic
// is a 500 that says nothing.
//
// Concurrency: an API may be used from any goroutine. Its caches hold immutable
// values behind atomic pointers; there is no lock around a request.
package api
