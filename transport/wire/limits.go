package wire

import "time"

// Limits of the HTTP interface, each with its reason.
const (
	MaxHeaderBytes  = 8 << 10  // a bearer token and a trace context need less than 1 KiB
	MaxMessageBytes = 64 << 10 // a message to be signed; anything larger goes by digest
	MaxBatchBytes   = 1 << 20  // the body of a sign request with items
	MaxBatchItems   = 1024     // items of one batch; one HSM slot works through them in turn
	MaxSignBytes    = 96 << 10 // the body of a sign request with one message: 64 KiB in base64 and its names
	MaxTokenBytes   = 16 << 10 // a compact JWS to be verified, and the claims of one to be made
	MaxLoginBytes   = 16 << 10 // a challenge with an armoured SSH signature
	MaxAdminBytes   = 1 << 20  // any other body
	MaxAnswerBytes  = 16 << 20 // what the SDK reads of an answer that is not a stream
	MaxDepth        = 16       // nesting of arrays and objects in a body
	MaxListLimit    = 1000     // items of one page
	MaxSerials      = 128      // that one list names: some 5 KiB of its request line
	DefaultLimit    = 100      // items of a page when the caller names no limit
)

// Times of the HTTP interface.
const (
	HeaderTimeout = 5 * time.Second  // until the request line and headers are here
	BodyTimeout   = 10 * time.Second // until the body is here
	IdleTimeout   = 60 * time.Second // a kept-alive connection without a request
	MaxHold       = 60 * time.Second // longest that a request is held for a level or an event
	DefaultHold   = 30 * time.Second // when the caller names a level and no time
	ImplicitHold  = 6 * time.Second  // when the caller names neither: below the SDK's limit for one attempt
	MaxBound      = time.Minute      // widest bounded read: nothing good is said of an older state
)
