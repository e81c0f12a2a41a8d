// Package authority is the service: it authenticates, decides, records, plans and
// proposes. Everything that changes the state of a key passes through it.
//
// It knows neither Raft nor HTTP. Below it stands the ledger, which replicates
// decisions; above it the transport, which carries requests. A write runs only on
// the leader: access, then the audit record, then a complete plan, then a trial on
// the View the plan was made on, then the proposal, which carries the revisions of
// every row it rests on, the caller's own among them. So a caller revoked between
// the decision and the entry is refused by Apply, on every node.
//
// Concurrency: a Service may be used by any number of goroutines and holds no
// lock across a call to the ledger or the key store.
package authority
