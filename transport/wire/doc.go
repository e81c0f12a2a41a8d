// Package wire is the JSON that crosses Chancery's HTTP API, as Go values: every
// request, every answer, the error object, the header names, the paths and the
// limits. The server (transport/api, transport/public) and the SDK (client) are
// both built on it, so that neither can drift from the other.
//
// Names are snake_case. Instants are RFC 3339 UTC with milliseconds, or null.
// Lengths of time are "1h" in policy and settings, and numbers with _ms or
// _seconds in measurements. Bytes are standard base64, except inside JOSE.
// Fields are added, never renamed.
//
// Threat model. Bodies come from anybody who can open a connection. Decode reads
// at most the number of bytes its caller names and refuses unknown fields, wrong
// types, a name that stands twice, nesting deeper than MaxDepth and anything after
// the value: what two parsers could read in two ways is not a request. Values are
// still to be validated by whoever carries the request out.
//
// There is no state and nothing to lock: every value belongs to its caller.
package wire
