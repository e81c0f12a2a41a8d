// Package fault lets the laboratory in integration/ break this program on purpose.
//
// It has two faces. In every ordinary build each function here is empty and is
// compiled away: no environment variable, file or flag can switch a fault on. With
// the build tag chancery_faults, which no release is built with, faults are named in
// the environment, marked points can stop, delay or kill the process, and events
// that the checkers need are recorded. Orders come over a unix socket that the
// environment names (Command), so a fault can begin and end while the process runs.
//
// A laboratory that finds nothing proves nothing until it has been shown to find
// something: each Seeded name is one error in our own design or code that it must
// catch.
package fault

// Seeded faults. Code asks On(name) where the error would be.
const (
	NoGate            = "no-gate"             // signatures leave without the release gate
	LeaseFromReceipt  = "lease-from-receipt"  // a lease counts from the arrival of the grant
	NoElectionWait    = "no-election-wait"    // a new leader does not wait for leases of earlier terms
	IndexBeforeRecord = "index-before-record" // the grant's index is read before the lease is recorded
	NoConfirmation    = "no-confirmation"     // a grant is sent without a round of the voters
	CountNonvoters    = "count-nonvoters"     // servers without a vote confirm a leader
	RaftApplied       = "raft-applied"        // raft's applied index is taken for ours
	NoNonce           = "no-nonce"            // a grant is accepted that answers another question
	GrantAfterRestart = "grant-after-restart" // a grant made to an earlier process is accepted
	StaleGood         = "stale-good"          // a stale node says good
	CachedGood        = "cached-good"         // a cached good answer outlives the revocation
	DuplicateApply    = "duplicate-apply"     // a fence is acknowledged, or an entry applied, twice as if once
	AckBeforeDrain    = "ack-before-drain"    // a fence is acknowledged before the gate was drained
	AckBeforeApply    = "ack-before-apply"    // a fence is acknowledged before the revocation is applied
	NoWait            = "no-bound-wait"       // a fence is over without waiting for leases that are out
	StrictSkipped     = "strict-skipped"      // a strict signature is released before it is recorded
)

// ShortIntents is no error: certificates that were announced and not recorded count as
// lost after seconds, which a test can wait for.
const ShortIntents = "short-intents"

// Marked points, where a process can be stopped, delayed or killed.
const (
	SignAdmitted  = "sign-admitted"  // after S1
	SignInHSM     = "sign-in-hsm"    // inside C_Sign
	SignSigned    = "sign-signed"    // after C_Sign
	SignAtGate    = "sign-at-gate"   // before S5
	SignInGate    = "sign-in-gate"   // inside S5, after the look at the state
	FenceAck      = "fence-ack"      // before a fence is acknowledged
	LeaseIndexed  = "lease-indexed"  // with IndexBeforeRecord: between the two
	LeaseGrant    = "lease-grant"    // before a grant is sent
	LeaseTaken    = "lease-taken"    // before a grant is judged: Keep and Replay
	FenceBounded  = "fence-bounded"  // between B1 and B2
	FenceAsked    = "fence-asked"    // between B2 and B5
	FenceRecorded = "fence-recorded" // between B4 and B5
	WritePlanned  = "write-planned"  // before a write that somebody asked for is proposed
	WriteAccepted = "write-accepted" // after it was, and before anybody is told
	PairMade      = "pair-made"      // after a key pair was generated, before it is bound
	PairBound     = "pair-bound"     // after the log has its public key

	SignAnnounced  = "sign-announced"  // after log and journal know of a structure, before the key is used
	CertRecorded   = "cert-recorded"   // after the log has a certificate, before it is given out
	CRLKept        = "crl-kept"        // after a list was signed and is on the disk
	IntentAsked    = "intent-asked"    // on the leader, before certificates are announced
	IntentAccepted = "intent-accepted" // after they are, and before their node is told
	RecordAsked    = "record-asked"    // the same for their records
	RecordAccepted = "record-accepted"
	NumberAsked    = "number-asked" // and for the number of a CRL
	NumberAccepted = "number-accepted"

	SnapshotAsked = "snapshot-asked" // before a snapshot is installed
	ApplyBatch    = "apply-batch"    // before a batch is applied
	KeyStoreSign  = "keystore-sign"  // a signature by the key store: also Fail and Wrong
	KeyStoreState = "keystore-state" // its statement about itself: Fail is a device that is gone, Wrong another token
)
