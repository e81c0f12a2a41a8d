// Package access decides who may do what. It is a pure function of rows: it
// reads no clock and no file, and whatever it does not know it denies.
//
// Threat model: the caller's name has been authenticated elsewhere (a client
// certificate's key or a token's hash). Default deny: a verb missing from the
// table is refused for everybody, admins too.
package access

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Verb is something a caller can ask for. The name goes into audit records and
// `auth can-i`.
type Verb string

const (
	KeyCreate     Verb = "key.create"
	KeyRead       Verb = "key.read"
	KeyRotate     Verb = "key.rotate"
	KeyActivate   Verb = "key.activate"
	KeySkip       Verb = "key.skip" // open a gate of a rotation before its time
	KeySuspend    Verb = "key.suspend"
	KeyResume     Verb = "key.resume"
	KeyDeactivate Verb = "key.deactivate"
	KeyRevoke     Verb = "key.revoke"
	KeyReplace    Verb = "key.replace" // revoke and make anew: it takes the right to both
	KeyDestroy    Verb = "key.destroy"
	KeyPolicy     Verb = "key.policy"
	KeyConfirm    Verb = "key.confirm" // that its purpose stands
	KeySign       Verb = "key.sign"
	KeyVerify     Verb = "key.verify"
	StatusRead    Verb = "status.read"
	LogRead       Verb = "log.read"
	AuditRead     Verb = "audit.read"
	ReportRead    Verb = "report.read"
	PrincipalRead Verb = "principal.read"
	PrincipalEdit Verb = "principal.write"
	TokenSelf     Verb = "token.self" // list and revoke one's own tokens
	TokenEdit     Verb = "token.write"
	NodeRead      Verb = "node.read"
	NodeEdit      Verb = "node.write"
	NodeUnseal    Verb = "node.unseal"
	ClusterRead   Verb = "cluster.read"
	ClusterEdit   Verb = "cluster.write"
	SnapshotSave  Verb = "snapshot.save"

	ConsumerRead    Verb = "consumer.read"
	ConsumerEdit    Verb = "consumer.write" // register, change, retire; each of the consumer's keys is asked about
	ConsumerWaive   Verb = "consumer.waive"
	ConsumerConfirm Verb = "consumer.confirm" // ask for canaries and confirm; in one's own name only

	IssuerEdit    Verb = "issuer.write"
	IssuerRequest Verb = "issuer.request" // certificate requests of its instances, for a CA elsewhere
	ProfileEdit   Verb = "profile.write"
	CertRead      Verb = "cert.read"       // certificates, issuers and profiles
	CertRevoke    Verb = "cert.revoke"     // any certificate of the issuer
	CertRevokeOwn Verb = "cert.revoke_own" // those one has requested
	CertRelease   Verb = "cert.release"    // end a hold

	ProposalRead     Verb = "proposal.read"
	ProposalApprove  Verb = "proposal.approve"     // and reject; the proposal must name the approver too
	ProposalWithdraw Verb = "proposal.withdraw"    // one's own
	ProposalBreak    Verb = "proposal.break_glass" // do without approvals; the settings must name the principal too
)

// Verbs lists every verb, keys first.
var Verbs = []Verb{KeyCreate, KeyRead, KeyRotate, KeyActivate, KeySkip, KeySuspend, KeyResume, KeyDeactivate, KeyRevoke, KeyReplace, KeyDestroy,
	KeyPolicy, KeyConfirm, KeySign, KeyVerify, StatusRead, LogRead, AuditRead, ReportRead, PrincipalRead, PrincipalEdit, TokenSelf, TokenEdit,
	NodeRead, NodeEdit, NodeUnseal, ClusterRead, ClusterEdit, SnapshotSave,
	ConsumerRead, ConsumerEdit, ConsumerWaive, ConsumerConfirm,
	IssuerEdit, IssuerRequest, ProfileEdit, CertRead, CertRevoke, CertRevokeOwn, CertRelease,
	ProposalRead, ProposalApprove, ProposalWithdraw, ProposalBreak}

// scope says what a verb is about: one key, or the cluster as a whole.
type scope uint8

const (
	aboutKey     scope = iota + 1 // a grant counts when its glob matches the key
	aboutCluster                  // a grant counts when it covers all keys
	aboutCaller                   // any grant counts
	aboutChange                   // of one key: a grant counts when its glob matches; of the cluster: any grant counts
)

type rule struct {
	scope scope
	roles []lifecycle.Role
}

var rules = map[Verb]rule{
	KeyCreate:     {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeyRead:       {aboutKey, lifecycle.Roles},
	KeyRotate:     {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeyActivate:   {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeySkip:       {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeySuspend:    {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator, lifecycle.Approver}},
	KeyResume:     {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeyDeactivate: {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeyRevoke:     {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator, lifecycle.Approver}},
	KeyReplace:    {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeyDestroy:    {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeyPolicy:     {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeyConfirm:    {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	KeySign:       {aboutKey, []lifecycle.Role{lifecycle.Signer}},
	KeyVerify:     {aboutKey, lifecycle.Roles},
	StatusRead:    {aboutCaller, lifecycle.Roles},
	LogRead:       {aboutCluster, []lifecycle.Role{lifecycle.Admin, lifecycle.Auditor}},
	AuditRead:     {aboutCluster, []lifecycle.Role{lifecycle.Admin, lifecycle.Auditor}},
	ReportRead:    {aboutCluster, []lifecycle.Role{lifecycle.Admin, lifecycle.Auditor, lifecycle.Operator}},
	PrincipalRead: {aboutCluster, []lifecycle.Role{lifecycle.Admin, lifecycle.Auditor}},
	PrincipalEdit: {aboutCluster, []lifecycle.Role{lifecycle.Admin}},
	TokenSelf:     {aboutCaller, lifecycle.Roles},
	TokenEdit:     {aboutCluster, []lifecycle.Role{lifecycle.Admin}},
	NodeRead:      {aboutCaller, lifecycle.Roles},
	NodeEdit:      {aboutCluster, []lifecycle.Role{lifecycle.Admin}},
	NodeUnseal:    {aboutCluster, []lifecycle.Role{lifecycle.Admin}},
	ClusterRead:   {aboutCaller, lifecycle.Roles},
	ClusterEdit:   {aboutCluster, []lifecycle.Role{lifecycle.Admin}},
	SnapshotSave:  {aboutCluster, []lifecycle.Role{lifecycle.Admin}},

	ConsumerRead:    {aboutCaller, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator, lifecycle.Approver, lifecycle.Auditor}},
	ConsumerEdit:    {aboutChange, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	ConsumerWaive:   {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	ConsumerConfirm: {aboutKey, []lifecycle.Role{lifecycle.ConsumerRole}},

	IssuerEdit:    {aboutKey, []lifecycle.Role{lifecycle.Admin}},
	IssuerRequest: {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	ProfileEdit:   {aboutCluster, []lifecycle.Role{lifecycle.Admin}},
	CertRead:      {aboutCaller, lifecycle.Roles},
	CertRevoke:    {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},
	CertRevokeOwn: {aboutCaller, lifecycle.Roles},
	CertRelease:   {aboutKey, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator}},

	ProposalRead:     {aboutChange, []lifecycle.Role{lifecycle.Admin, lifecycle.Operator, lifecycle.Approver, lifecycle.Auditor}},
	ProposalApprove:  {aboutChange, []lifecycle.Role{lifecycle.Approver}},
	ProposalWithdraw: {aboutCaller, lifecycle.Roles},
	ProposalBreak:    {aboutCluster, []lifecycle.Role{lifecycle.Admin}},
}

// Decision is the answer and, when it is no, the sentence that says what is missing.
type Decision struct {
	Allowed bool
	Why     string
}

// Decide answers whether the principal may do verb; key is "" for verbs that are
// not about a key. An admin is no signer: whoever administers keys does not use
// them unless a signer role says so.
func Decide(p *lifecycle.Principal, verb Verb, key lifecycle.KeyID) Decision {
	if p == nil {
		return Decision{Why: "nobody is logged in"}
	}
	if p.RevokedAt != 0 {
		return Decision{Why: fmt.Sprintf("principal %s was revoked at %s", p.Name, p.RevokedAt)}
	}
	r, ok := rules[verb]
	if !ok {
		return Decision{Why: fmt.Sprintf("unknown verb %q", string(verb))}
	}
	for _, g := range p.Grants {
		if covers(r, g, key) {
			return Decision{Allowed: true}
		}
	}
	if r.scope == aboutKey || r.scope == aboutChange && key != "" {
		return Decision{Why: fmt.Sprintf("%s has none of the roles %v on key %q: an admin can grant one with `chancery principal add %s --replace --role ROLE:%s`", p.Name, r.roles, string(key), p.Name, string(key))}
	}
	return Decision{Why: fmt.Sprintf("%s has none of the roles %v for all keys, which %s needs", p.Name, r.roles, verb)}
}

// DecideCaller answers whether the policy of k lets a principal sign that has the role
// to: a policy may name its callers more closely than roles do.
func DecideCaller(p *lifecycle.Principal, k *lifecycle.Key) Decision {
	if p != nil && k.Policy.AllowsCaller(p.Name) {
		return Decision{Allowed: true}
	}
	return Decision{Why: fmt.Sprintf("the policy of %s lets only %v sign: chancery key policy get %s", k.ID, k.Policy.AllowedCallers, k.ID)}
}

func covers(r rule, g lifecycle.Grant, key lifecycle.KeyID) bool {
	for _, role := range r.roles {
		if g.Role != role {
			continue
		}
		switch r.scope {
		case aboutKey:
			return g.Matches(key)
		case aboutCluster:
			return g.Keys == "*"
		case aboutCaller:
			return true
		case aboutChange:
			return key == "" || g.Matches(key)
		}
	}
	return false
}
