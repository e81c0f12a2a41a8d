package wire

import "net/http"

// Code says why a request was refused. Codes are part of the interface and are
// never renamed. Those of the state machine (fsm/state.Code) stand here too.
type Code string

const (
	// The request cannot be read or says nothing that could be done.
	Malformed       Code = "malformed"
	Invalid         Code = "invalid"
	AmbiguousPrefix Code = "ambiguous_prefix"
	BadDigest       Code = "bad_digest"

	// Who is asking, and may they.
	Unauthenticated Code = "unauthenticated"
	LoginFailed     Code = "login_failed"
	Denied          Code = "denied"
	NeedsTLS        Code = "needs_tls"

	// What is not there.
	NotFound          Code = "not_found"
	KeyNotFound       Code = "key_not_found"
	VersionNotFound   Code = "version_not_found"
	InstanceNotFound  Code = "instance_not_found"
	NodeNotFound      Code = "node_not_found"
	PrincipalNotFound Code = "principal_not_found"
	TokenNotFound     Code = "token_not_found"
	OperationNotFound Code = "operation_not_found"
	MethodNotAllowed  Code = "method_not_allowed"

	// What somebody else did meanwhile, or before.
	Conflict             Code = "conflict"
	AlreadyExists        Code = "already_exists"
	RotationOpen         Code = "rotation_in_progress"
	AlreadyReplaced      Code = "already_replaced"
	RotationPaused       Code = "rotation_paused"
	RequestIDReused      Code = "request_id_reused"
	StaleRequestID       Code = "stale_request_id"
	CheckpointStale      Code = "checkpoint_superseded"
	NotFenced            Code = "not_fenced"
	Behind               Code = "behind"
	EpochChanged         Code = "epoch_changed"
	PreconditionFailed   Code = "precondition_failed"
	PreconditionRequired Code = "precondition_required"

	// Sizes and forms.
	TooLarge         Code = "too_large"
	HeaderTooLarge   Code = "header_too_large"
	UnsupportedMedia Code = "unsupported_media_type"
	RateLimited      Code = "rate_limited"
	BodyTimedOut     Code = "body_timed_out"

	// Understood, allowed, and refused by the state of things.
	IllegalTransition Code = "illegal_transition"
	NotReady          Code = "not_ready"
	NotPublished      Code = "not_published"
	LeadNotPassed     Code = "lead_not_passed"
	NotConfirmed      Code = "not_confirmed"
	WaitNotPassed     Code = "wait_not_passed"
	NodeNotMember     Code = "node_not_member"
	SealNotFound      Code = "seal_not_found"
	NodeNotQuarantine Code = "node_not_quarantined"

	// Consumers and their confirmations.
	ConsumerNotFound Code = "consumer_not_found"
	NotADependent    Code = "not_a_dependent"
	UnknownKID       Code = "unknown_kid"
	WrongDigest      Code = "wrong_digest"
	ChallengeUnknown Code = "challenge_unknown"
	ChallengeOther   Code = "challenge_of_another"
	CanaryFailed     Code = "canary_failed"

	// Approvals.
	ApprovalRequired   Code = "approval_required"
	ApprovalNotNeeded  Code = "approval_not_needed"
	NotEnoughApprovers Code = "not_enough_approvers"
	ProposalNotFound   Code = "proposal_not_found"
	ProposalNotOpen    Code = "proposal_not_open"
	ProposalExpired    Code = "proposal_expired"
	NotAnApprover      Code = "not_an_approver"
	NotTheRequester    Code = "not_the_requester"
	OwnProposal        Code = "own_proposal"
	AlreadyApproved    Code = "already_approved"
	ApprovalInvalid    Code = "approval_invalid"
	NotApproved        Code = "not_approved"
	IntentMismatch     Code = "intent_mismatch"

	// Certificates.
	IssuerNotFound      Code = "issuer_not_found"
	ProfileNotFound     Code = "profile_not_found"
	CertificateNotFound Code = "certificate_not_found"
	NoCACertificate     Code = "no_ca_certificate"
	OutlivesCA          Code = "outlives_ca"
	KeyReused           Code = "key_reused"
	TBSMismatch         Code = "tbs_mismatch"
	CertificateRevoked  Code = "certificate_revoked"
	CertificateNotHeld  Code = "certificate_not_held"
	CertificateExpired  Code = "certificate_expired"

	LastVoter         Code = "last_voter"
	LeaderCannotLeave Code = "leader_cannot_leave"
	NotAVoter         Code = "not_a_voter"
	TokenSpent        Code = "token_spent"
	TokenExpired      Code = "token_expired"
	ClockAhead        Code = "clock_ahead"
	FormatTooLow      Code = "format_too_low"
	FormatRefused     Code = "format_refused"
	LimitReached      Code = "limit_reached"
	WrongPurpose      Code = "wrong_purpose"
	InputRefused      Code = "input_refused"
	ClaimsRefused     Code = "claims_refused"
	NoActiveVersion   Code = "no_active_version"
	KeySuspended      Code = "key_suspended"
	KeyRevoked        Code = "key_revoked"
	KeyDestroyed      Code = "key_destroyed"
	Unsupported       Code = "unsupported"

	// Nothing was done; another node, or this one later, may do it.
	NotInitialised      Code = "not_initialised"
	NotLeader           Code = "not_leader"
	IsStale             Code = "stale"
	Busy                Code = "busy"
	ClockUnsure         Code = "clock_unsure"
	Stopping            Code = "stopping"
	NoLease             Code = "no_lease"
	InstanceNotHere     Code = "instance_not_here"
	BeingReplaced       Code = "being_replaced"
	KeystoreBusy        Code = "keystore_busy"
	KeystoreUnavailable Code = "keystore_unavailable"
	KeystoreLocked      Code = "keystore_locked"
	AuditUnavailable    Code = "audit_unavailable"
	DiskFull            Code = "disk_full"
	TooLate             Code = "too_late"
	Sealed              Code = "sealed"
	NotRecorded         Code = "not_recorded"
	NoStatusKey         Code = "no_status_key"

	// Nobody knows, or nobody should have had to.
	OutcomeUnknown Code = "outcome_unknown"
	NotAvailable   Code = "not_available"
	Internal       Code = "internal"
)

// CodeInfo is a row of the error table.
type CodeInfo struct {
	Code      Code
	Status    int  // of HTTP
	Retryable bool // the same request may succeed later or on another node
	Meaning   string
}

// Codes is the error table: every code there is, in the order of the documentation.
var Codes = []CodeInfo{
	{Malformed, http.StatusBadRequest, false, "the body is not the JSON that was expected"},
	{Invalid, http.StatusBadRequest, false, "a value is missing or out of its bounds"},
	{AmbiguousPrefix, http.StatusBadRequest, false, "several ids begin like that"},
	{BadDigest, http.StatusBadRequest, false, "the digest does not have the length or hash of the key's algorithm"},

	{Unauthenticated, http.StatusUnauthorized, false, "no credential, or one that is unknown, expired or revoked"},
	{LoginFailed, http.StatusUnauthorized, false, "the challenge is too old or its signature does not verify"},
	{Denied, http.StatusForbidden, false, "no role of the caller allows it"},
	{NeedsTLS, http.StatusForbidden, false, "trust anchors are served over TLS or loopback only"},

	{NotFound, http.StatusNotFound, false, "there is no such path"},
	{KeyNotFound, http.StatusNotFound, false, "there is no such key"},
	{VersionNotFound, http.StatusNotFound, false, "the key has no such version"},
	{InstanceNotFound, http.StatusNotFound, false, "no instance has this kid, or the node holds none"},
	{NodeNotFound, http.StatusNotFound, false, "there is no such node"},
	{ConsumerNotFound, http.StatusNotFound, false, "there is no consumer of that name"},
	{NotADependent, http.StatusUnprocessableEntity, false, "the consumer does not list the key"},
	{UnknownKID, http.StatusUnprocessableEntity, false, "the key has no public key of that kid"},
	{WrongDigest, http.StatusConflict, false, "the digest is not of the keys it is said to be of: fetch the trust set again"},
	{ChallengeUnknown, http.StatusUnprocessableEntity, false, "the challenge is unknown, was used, or is too old: ask for another"},
	{ChallengeOther, http.StatusUnprocessableEntity, false, "the challenge was given to another consumer or instance, or for another key"},
	{CanaryFailed, http.StatusUnprocessableEntity, false, "good canaries were not told from broken ones: nothing was recorded"},
	{SealNotFound, http.StatusNotFound, false, "the node has no seal of that id"},
	{IssuerNotFound, http.StatusNotFound, false, "there is no such issuer"},
	{ProfileNotFound, http.StatusNotFound, false, "no profile of that name was set"},
	{CertificateNotFound, http.StatusNotFound, false, "no certificate has this serial"},
	{ProposalNotFound, http.StatusNotFound, false, "there is no such proposal"},
	{PrincipalNotFound, http.StatusNotFound, false, "there is no such principal"},
	{TokenNotFound, http.StatusNotFound, false, "there is no such token"},
	{OperationNotFound, http.StatusNotFound, false, "no request with this id is remembered"},
	{MethodNotAllowed, http.StatusMethodNotAllowed, false, "the path does not take this method"},

	{Conflict, http.StatusConflict, true, "what the plan was made on has changed meanwhile"},
	{ProposalNotOpen, http.StatusConflict, false, "the proposal was executed, rejected or withdrawn, or it expired"},
	{AlreadyApproved, http.StatusConflict, false, "each approver counts once"},
	{ApprovalRequired, http.StatusConflict, false, "a rule asks approvals for it: make a proposal of it"},
	{ApprovalNotNeeded, http.StatusConflict, true, "no rule asks approvals for it any more: do it directly"},
	{NotApproved, http.StatusConflict, false, "fewer approvals count now than the rule asks for"},
	{IntentMismatch, http.StatusConflict, false, "the plan, or what it replaces, is not what was approved"},
	{ProposalExpired, http.StatusConflict, false, "the proposal's time is over: ask again"},
	{NotAnApprover, http.StatusForbidden, false, "the rule does not name the caller, or the signer, as an approver"},
	{NotTheRequester, http.StatusForbidden, false, "only who made the proposal can withdraw it"},
	{OwnProposal, http.StatusForbidden, false, "nobody approves what they asked for"},
	{AlreadyExists, http.StatusConflict, false, "the name is taken; names are never reused"},
	{RotationOpen, http.StatusConflict, false, "the key has a version that waits to be activated"},
	{AlreadyReplaced, http.StatusConflict, false, "somebody else has replaced the key just before"},
	{RotationPaused, http.StatusConflict, false, "the key's plan is paused: somebody has to resume it"},
	{RequestIDReused, http.StatusConflict, false, "the request id came with another body before"},
	{StaleRequestID, http.StatusConflict, false, "the request id is too old, or lies in the future"},
	{CheckpointStale, http.StatusConflict, true, "a later checkpoint has taken its place"},
	{NotFenced, http.StatusConflict, true, "a node is removed only when it has certainly stopped signing"},
	{Behind, http.StatusPreconditionFailed, true, "the position asked for was not reached in time"},
	{EpochChanged, http.StatusPreconditionFailed, false, "the cluster was restored: re-anchor before going on"},
	{PreconditionFailed, http.StatusPreconditionFailed, false, "If-Match does not name the present revision"},
	{PreconditionRequired, http.StatusPreconditionRequired, false, "this change needs If-Match"},

	{TooLarge, http.StatusRequestEntityTooLarge, false, "the body or one of its parts is too large"},
	{HeaderTooLarge, http.StatusRequestHeaderFieldsTooLarge, false, "the headers are too large"},
	{UnsupportedMedia, http.StatusUnsupportedMediaType, false, "the body is not application/json"},
	{RateLimited, http.StatusTooManyRequests, true, "too many requests of this caller"},
	{BodyTimedOut, http.StatusRequestTimeout, true, "the body did not arrive in time"},

	{IllegalTransition, http.StatusUnprocessableEntity, false, "the version's state does not allow the verb"},
	{NotEnoughApprovers, http.StatusUnprocessableEntity, false, "fewer people could approve it than the rule asks for"},
	{ApprovalInvalid, http.StatusUnprocessableEntity, false, "the signature is not by an approver over this proposal's statement"},
	{NotReady, http.StatusUnprocessableEntity, false, "too few instances are ready"},
	{NotPublished, http.StatusUnprocessableEntity, false, "the version is not in the trust set yet"},
	{LeadNotPassed, http.StatusUnprocessableEntity, false, "the publication lead has not passed"},
	{NotConfirmed, http.StatusUnprocessableEntity, false, "required consumers have not proven that they know the version"},
	{WaitNotPassed, http.StatusUnprocessableEntity, false, "the waiting period has not passed"},
	{NodeNotMember, http.StatusUnprocessableEntity, false, "the node is not a member"},
	{NodeNotQuarantine, http.StatusUnprocessableEntity, false, "a node is quarantined before it is removed"},
	{NoCACertificate, http.StatusServiceUnavailable, true, "the issuer's instance here has no CA certificate that is valid; another node's may have"},
	{OutlivesCA, http.StatusUnprocessableEntity, false, "the certificate would be valid when its CA certificate is not"},
	{KeyReused, http.StatusUnprocessableEntity, false, "the public key was certified for somebody else"},
	{TBSMismatch, http.StatusUnprocessableEntity, false, "the certificate is not the one that was announced"},
	{CertificateRevoked, http.StatusUnprocessableEntity, false, "the certificate is on the CRL"},
	{CertificateNotHeld, http.StatusUnprocessableEntity, false, "only a certificate on hold can be released"},
	{CertificateExpired, http.StatusUnprocessableEntity, false, "the certificate has ended by itself"},
	{LastVoter, http.StatusUnprocessableEntity, false, "without this voter nothing could be decided"},
	{LeaderCannotLeave, http.StatusUnprocessableEntity, false, "the leader does not remove itself"},
	{NotAVoter, http.StatusUnprocessableEntity, false, "only a node with a vote can lead"},
	{TokenSpent, http.StatusUnprocessableEntity, false, "the join token was used"},
	{TokenExpired, http.StatusUnprocessableEntity, false, "the token has expired"},
	{ClockAhead, http.StatusUnprocessableEntity, false, "the time of the command lies too far ahead"},
	{FormatTooLow, http.StatusUnprocessableEntity, false, "the cluster's format does not know this yet"},
	{FormatRefused, http.StatusUnprocessableEntity, false, "the format cannot be raised to that"},
	{LimitReached, http.StatusUnprocessableEntity, false, "a limit of the cluster is reached"},
	{WrongPurpose, http.StatusUnprocessableEntity, false, "the key's purpose does not sign this"},
	{InputRefused, http.StatusUnprocessableEntity, false, "the key's policy does not allow this input or format"},
	{ClaimsRefused, http.StatusUnprocessableEntity, false, "the claims contradict the key's policy"},
	{NoActiveVersion, http.StatusUnprocessableEntity, false, "no version of the key is active"},
	{KeySuspended, http.StatusUnprocessableEntity, false, "the version is suspended"},
	{KeyRevoked, http.StatusUnprocessableEntity, false, "the version is revoked"},
	{KeyDestroyed, http.StatusUnprocessableEntity, false, "the version's private keys are destroyed"},
	{Unsupported, http.StatusUnprocessableEntity, false, "the key store of a node cannot do this"},

	{NotInitialised, http.StatusServiceUnavailable, true, "the cluster has no genesis yet"},
	{NotLeader, http.StatusServiceUnavailable, true, "no leader is known to this node"},
	{IsStale, http.StatusServiceUnavailable, true, "the state of this node is too old"},
	{Busy, http.StatusServiceUnavailable, true, "too much is waiting"},
	{ClockUnsure, http.StatusServiceUnavailable, true, "the clock of the leader, or of the node that would sign, disagrees with the others'"},
	{Stopping, http.StatusServiceUnavailable, true, "the node is stopping"},
	{NoLease, http.StatusServiceUnavailable, true, "the node may not release signatures now"},
	{InstanceNotHere, http.StatusServiceUnavailable, true, "this node's instance cannot sign; another node's may"},
	{BeingReplaced, http.StatusServiceUnavailable, true, "an emergency has ended the key's version; the new one is being made"},
	{KeystoreBusy, http.StatusServiceUnavailable, true, "the key store's queue is full"},
	{KeystoreUnavailable, http.StatusServiceUnavailable, true, "the key store does not answer"},
	{KeystoreLocked, http.StatusServiceUnavailable, true, "the token refused the PIN; an operator must act"},
	{DiskFull, http.StatusServiceUnavailable, true, "the leader's disk is full: it only withdraws"},
	{AuditUnavailable, http.StatusServiceUnavailable, true, "the audit journal cannot be written: no record, no action"},
	{TooLate, http.StatusServiceUnavailable, true, "the request grew too old; nothing was released"},
	{Sealed, http.StatusServiceUnavailable, true, "the node was ordered on its own machine not to sign"},
	{NotRecorded, http.StatusServiceUnavailable, true, "the signature could not be written to the log before its release: nothing was released"},
	{NoStatusKey, http.StatusServiceUnavailable, true, "the node has no valid certificate for its status key"},

	{OutcomeUnknown, http.StatusServiceUnavailable, true, "leadership was lost meanwhile: repeat with the same request id"},
	{NotAvailable, http.StatusNotImplemented, false, "this version does not do that"},
	{Internal, http.StatusInternalServerError, false, "a fault of Chancery; the node's log says more"},
}

var codeIndex = func() map[Code]CodeInfo {
	m := make(map[Code]CodeInfo, len(Codes))
	for _, c := range Codes {
		m[c.Code] = c
	}
	return m
}()

// Info finds the row of a code; that of Internal for one that is not in the table.
func (c Code) Info() CodeInfo {
	if i, ok := codeIndex[c]; ok {
		return i
	}
	return codeIndex[Internal]
}

// Known reports whether the table has the code.
func (c Code) Known() bool { _, ok := codeIndex[c]; return ok }
