package command

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var (
	nodeA = lifecycle.NodeID(strings.Repeat("a1", 32))
	nodeB = lifecycle.NodeID(strings.Repeat("b2", 32))
	ckaA  = lifecycle.CKAID{0xa1, 1}
	ckaB  = lifecycle.CKAID{0xb2, 2}
)

func filled(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func exampleNode(id lifecycle.NodeID, name string) NodeRecord {
	return NodeRecord{ID: id, Name: name, Incarnation: "0123456789abcdef",
		Addrs:  lifecycle.Addrs{Node: "10.0.0.1:7400", API: "10.0.0.1:7401", Public: "10.0.0.1:7402", Gossip: "10.0.0.1:7403"},
		CACert: []byte{0x30, 0x03, 0x02, 0x01, 0x05}, MaxFormat: 1, Version: "0.1.0", Driver: "soft"}
}

var exampleKID = base64.RawURLEncoding.EncodeToString(filled(0x44))

func exampleSerial(n byte) lifecycle.Serial {
	return lifecycle.NewSerial(1767355200123, [13]byte{12: n})
}

var renewed = exampleSerial(0)

// exampleCertificate has the form of a certificate and nothing in it.
func exampleCertificate() []byte {
	s := exampleSerial(1)
	tbs := slices.Concat([]byte{0xa0, 3, 2, 1, 2, 2, 20}, s[:], []byte{0x30, 0, 0x30, 0, 0x30, 30, 0x17, 13}, []byte("260102120000Z"),
		[]byte{0x17, 13}, []byte("260201120000Z"), []byte{0x30, 0, 0x30, 0})
	return slices.Concat([]byte{0x30, byte(len(tbs) + 7), 0x30, byte(len(tbs))}, tbs, []byte{0x30, 0, 0x03, 1, 0})
}

func exampleIssuerTerms() lifecycle.IssuerTerms {
	return lifecycle.IssuerTerms{CommonName: "corp issuing", Organization: "Corp", PathLen: 1, CAValidity: 365 * lifecycle.Day, CRLEvery: lifecycle.Hour,
		CRLValid: 72 * lifecycle.Hour, OCSPValid: lifecycle.Hour, ShardCRL: true,
		Names: lifecycle.NameConstraints{PermittedDNS: []string{"corp.test"}, ExcludedDNS: []string{"no.corp.test"}, PermittedIPs: []string{"10.0.0.0/8"},
			ExcludedIPs: []string{"10.9.0.0/16"}, PermittedEmails: []string{"corp.test"}, ExcludedEmails: []string{"no.corp.test"},
			PermittedURIs: []string{"corp.test"}, ExcludedURIs: []string{"no.corp.test"}}}
}

// examples holds one valid command of each kind with every field set. Each stands
// in a golden file, so nothing here is ever changed: a new field of a later format
// gets an example, and a golden, of its own.
func examples() []Body {
	intents := []Intent{{Node: nodeA, CKAID: ckaA}, {Node: nodeB, CKAID: ckaB}}
	policy := lifecycle.Policy{RotateEvery: 30 * lifecycle.Day, MaxAge: 40 * lifecycle.Day, Lead: lifecycle.Hour,
		VerifyWindow: 2 * lifecycle.Hour, JWKSMaxAge: 5 * lifecycle.Minute, MaxTTL: lifecycle.Hour, DestroyWait: 7 * lifecycle.Day,
		MinReady: 2, Publish: true, Inputs: []string{"jws"}, Types: []string{"JWT", "at+jwt"}, Audiences: []string{"https://api.example"},
		Issuer: "https://ci.example", VerifyOneIn: 1}
	labels := []lifecycle.Label{{Name: "team", Value: "build"}, {Name: "tier", Value: "1"}}
	admin := PrincipalRecord{Name: "ada", Kind: lifecycle.Person,
		Grants:  []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}, {Role: lifecycle.Signer, Keys: "ci-*"}},
		SSHKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ada"}, Certs: []string{strings.Repeat("c3", 32)}}
	settings := lifecycle.Settings{PublicURL: "https://keys.example", CheckpointEvery: 10 * lifecycle.Second,
		MaxTokenTTL: 366 * lifecycle.Day, InsecureTrustAnchors: true, BusinessReasonConfirm: 365 * lifecycle.Day}
	verifier := ConsumerRecord{Name: "deploy-eu", Owner: "deploy", Contact: "deploy@example.com", Class: lifecycle.Required, Expect: 3,
		Keys: []lifecycle.KeyID{"cd", "ci"}, Lifetime: lifecycle.Day}
	enrolment := Enrolment{Hash: filled(0xcc), ExpiresAt: 1767441600000}
	kidA, kidB := base64.RawURLEncoding.EncodeToString(filled(0x44)), base64.RawURLEncoding.EncodeToString(filled(0x45))
	return []Body{
		&Init{ClusterID: "00112233445566778899aabbccddeeff", Name: "prod", Node: exampleNode(nodeA, "alpha"), Admin: admin, Settings: settings},
		&AdvanceClock{Readings: []ClockReading{{Node: nodeA, At: 1767355200000}, {Node: nodeB, At: 1767355200001}}},
		&RaiseFormat{Format: 2},
		&MarkCheckpoint{},
		&RecordCheckpoint{MarkIndex: 40, LogSize: 17, Root: filled(0x11), Digest: filled(0x22), Voters: []lifecycle.NodeID{nodeA, nodeB}},
		&SetSettings{Settings: settings},
		&NoteDelivered{Items: []Delivered{{Webhook: "chat", After: 1902}, {Webhook: "pager", After: 1800, Why: "it answered 502"}}},
		&AddJoinToken{ID: "join-0001", MACKey: filled(0x33), ExpiresAt: 1767358800000},
		&JoinNode{TokenID: "join-0001", Node: exampleNode(nodeB, "beta")},
		&UpdateNode{ID: nodeB, Addrs: exampleNode(nodeB, "beta").Addrs, MaxFormat: 1, Version: "0.2.0", Driver: "pkcs11", Incarnation: "fedcba9876543210"},
		&SetNodeRoles{ID: nodeB, Voter: true, Signer: true},
		&SetNodeStatus{ID: nodeB, Status: lifecycle.Removed, Reason: "disk died", Lost: true},
		&CreateKey{Name: "ci", Purpose: lifecycle.ForToken, Alg: lifecycle.PS256, Bits: 3072, Custody: lifecycle.Distributed,
			Owner: "platform", Reason: "signs build tokens", ConfirmBy: 1798891200000, Labels: labels, Policy: policy, Instances: intents},
		&PrepareVersion{Key: "ci", Version: 2, Instances: intents},
		&PlanInstances{Key: "ci", Version: 2, Instances: intents[1:]},
		&BindInstance{Key: "ci", Version: 2, Node: nodeA, CKAID: ckaA, SPKI: []byte{0x30, 0x03, 0x02, 0x01, 0x07},
			KID: base64.RawURLEncoding.EncodeToString(filled(0x44)), Driver: "pkcs11", Attributes: []string{"CKA_EXTRACTABLE=false", "CKA_SENSITIVE=true"}},
		&ReportCondition{Key: "ci", Version: 2, Node: nodeA, Condition: lifecycle.Lost, Detail: "two look-ups found nothing"},
		&PublishVersion{Key: "ci", Version: 2},
		&ActivateVersion{Key: "ci", Version: 2, Early: true, Comment: "replaces a compromised version"},
		&AdmitInstance{Key: "ci", Version: 2, Node: nodeB},
		&SuspendVersion{Key: "ci", Version: 2, Comment: "under investigation"},
		&ResumeVersion{Key: "ci", Version: 2, Comment: "false alarm"},
		&DeactivateVersion{Key: "ci", Version: 2, Comment: "project closed"},
		&WithdrawVersion{Key: "ci", Version: 1, Comment: "window over"},
		&Revoke{Key: "ci", Versions: []uint64{1, 2}, Node: nodeB, Reason: lifecycle.KeyCompromise, CompromisedSince: 1767350000000, Comment: "laptop stolen", Distrust: true},
		&ScheduleDestroy{Key: "ci", Version: 1, DestroyAt: 1768000000000, Comment: "end of life"},
		&BeginErasure{Key: "ci", Version: 1},
		&ConfirmErased{Key: "ci", Version: 1, Node: nodeA, Evidence: "C_DestroyObject, then two look-ups by CKA_ID"},
		&SetPolicy{Key: "ci", Policy: policy, Owner: "platform", Reason: "audit 2026", ConfirmBy: 1798891200000, Labels: labels},
		&ConfirmPurpose{Key: "ci", Reason: "signs build tokens", ConfirmBy: 1798891200000},
		&AddPrincipal{Principal: admin, Replace: true},
		&RevokePrincipal{Name: "ada"},
		&AddToken{ID: "tok-0001", Principal: "ada", Hash: filled(0x55), Label: "laptop", ExpiresAt: 1767441600000},
		&RevokeToken{ID: "tok-0001"},
		&RecordFenced{Term: 7, Fences: []FencedAt{{Index: 41, Nodes: []lifecycle.FencedNode{
			{Node: nodeA, Outcome: lifecycle.Acked, Boot: strings.Repeat("e5", 16), At: 1767355200200},
			{Node: nodeB, Outcome: lifecycle.LeaseExpired, At: 1767355203750}}}, {Index: 43}}},
		&RecordSettled{Indexes: []uint64{41, 43}, Term: 7},
		&RecordSignatures{Node: nodeA, Groups: []SignatureGroup{{Key: "ci", Version: 2, KID: base64.RawURLEncoding.EncodeToString(filled(0x44)),
			Principal: "ada", TokenID: "tok-0001", RequestID: "019b7dd0-2c7b-7000-8000-000000000002",
			Items: []SignatureItem{{TBS: filled(0x77), Sig: filled(0x88)}, {TBS: filled(0x99), Sig: filled(0xaa)}}}}},
		&ReportSeal{Node: nodeA, ID: "0011223344556677", Key: "ci", Reason: "laptop stolen", By: "root (uid 0)", SealedAt: 1767355200300},
		&LiftSeal{Node: nodeA, ID: "0011223344556677"},
		&ReportTally{Node: nodeA, Seq: 4411, Hash: filled(0x19), At: 1767355200400, More: true, Items: []TallyItem{
			{Key: "ci", Version: 2, KID: kidA, Released: 18234, Open: 1, LastAt: 1767355200300}}},
		&OpenProposal{ID: "p-00112233aabb", Plan: PlanOf(&ResumeVersion{Key: "ci", Version: 2, Comment: "false alarm"}), Reason: "the alarm was false", ExpiresAt: 1767614400000},
		&Approve{Proposal: "p-00112233aabb", Signature: []byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n")},
		&RejectProposal{Proposal: "p-00112233aabb", Comment: "not before the audit"},
		&WithdrawProposal{Proposal: "p-00112233aabb", Comment: "asked for the wrong version"},
		&ExecuteProposal{Proposal: "p-00112233aabb", Plan: PlanOf(&ResumeVersion{Key: "ci", Version: 2, Comment: "false alarm"})},
		&ExpireProposals{IDs: []string{"p-00112233aabb", "p-00112233aabc"}},
		&BreakGlass{Plan: PlanOf(&ResumeVersion{Key: "ci", Version: 2, Comment: "false alarm"}), Reason: "both approvers are on one plane"},
		&RegisterConsumer{Consumer: verifier, Enrolment: enrolment},
		&UpdateConsumer{Consumer: verifier, Enrolment: &enrolment},
		&RetireConsumer{Name: "deploy-eu", Comment: "the region is closed"},
		&EnrolConsumer{Consumer: "deploy-eu", Spent: filled(0xcc), TokenID: "tok-0002", TokenHash: filled(0xdd), Label: "enrolled", ExpiresAt: 1798891200000},
		&RecordConfirmations{Sets: []LoadedSet{{Key: "ci", Digest: "sha256:" + strings.Repeat("ee", 32), KIDs: []string{kidA, kidB}}, {Key: "cd", Digest: "sha256:" + strings.Repeat("ff", 32)}},
			Items: []ConfirmationItem{{Consumer: "deploy-eu", Instance: "web-01", Set: 0, Proven: []uint64{0, 1}}, {Consumer: "deploy-us", Instance: "10.0.0.7", Set: 1, Weak: true}}},
		&LapseConfirmations{Items: []ConfirmationName{{Consumer: "deploy-eu", Key: "ci", Instance: "web-01"}}},
		&WaiveConsumer{Consumer: "deploy-eu", Key: "ci", Version: 2, Gate: lifecycle.GateActivate, Until: 1767614400000, Comment: "the region is down"},
		&PauseRotation{Key: "ci", Reason: "a verifier is down"},
		&ResumeRotation{Key: "ci", Comment: "it is back"},
		&SkipGate{Key: "ci", Version: 3, Gate: lifecycle.GateWithdraw, Comment: "nobody uses it"},
		&RollBack{Key: "ci", Version: 3, Comment: "made on the wrong nodes"},
		&Replace{Key: "ci", Versions: []uint64{1, 2}, Version: 3, Instances: intents, Reason: lifecycle.KeyCompromise, CompromisedSince: 1767350000000, Comment: "keys in a public repository", Distrust: true},
		&NoteWaiting{Key: "ci", Version: 3, For: "consumer deploy-eu of eu@example.com"},
		&RotateGossipKey{Digest: filled(0xbb)},
		&CreateIssuer{Key: CreateKey{Name: "corp", Purpose: lifecycle.ForCertificate, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "platform",
			Reason: "certificates of the build farm", Policy: lifecycle.Policy{JWKSMaxAge: 5 * lifecycle.Minute, VerifyOneIn: 1, Strict: true}, Instances: intents},
			Of: lifecycle.IssuingIssuer, Parent: "root", Terms: exampleIssuerTerms()},
		&BindCACert{Issuer: "corp", Version: 1, Node: nodeA, DER: exampleCertificate(), Subject: "corp issuing Eg9xPq2c"},
		&SetIssuer{Issuer: "corp", Terms: exampleIssuerTerms()},
		&SetProfile{Name: "web", Terms: lifecycle.ProfileTerms{Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"serverAuth", "clientAuth"},
			Keys: []string{"P-256", "RSA-3072"}, DefaultValidity: lifecycle.Day, MaxValidity: 30 * lifecycle.Day, Backdate: 5 * lifecycle.Minute, CommonName: "first",
			Names:         []lifecycle.NameRule{{Requester: "web-*", DNS: []string{"*.web.test"}, IPs: []string{"10.0.0.0/8"}, URIs: []string{"spiffe://test/*"}, Emails: []string{"*@web.test"}}},
			NamesOptional: true, NoRevocation: true, OCSPNoCheck: true}},
		&DropProfile{Name: "web"},
		&IssueIntents{Node: nodeA, Items: []IssueItem{
			{Serial: exampleSerial(1), Issuer: "corp", Version: 1, KID: exampleKID, Profile: "server", ProfileHash: filled(0x12), TBSHash: filled(0x13), SPKIHash: filled(0x14),
				Subject: "a.test", DNS: []string{"a.test", "b.test"}, IPs: []string{"10.0.0.1"}, URIs: []string{"spiffe://test/a"}, Emails: []string{"a@a.test"},
				NotBefore: 1767354900000, NotAfter: 1769947200000, DeadlineAt: 1767355260000, Requester: "web-01", TokenID: "tok-0001",
				RequestID: "019b7dd0-2c7b-7000-8000-000000000003", RequestDigest: filled(0x15)},
			{Serial: exampleSerial(2), Issuer: "corp", Version: 1, KID: exampleKID, Profile: "server", ProfileHash: filled(0x12), TBSHash: filled(0x16), SPKIHash: filled(0x17),
				Subject: "c.test", NotBefore: 1767354900000, NotAfter: 1769947200000, DeadlineAt: 1767355260000, Requester: "web-02",
				Replaces: &renewed, ByCertificate: true}}},
		&RecordIssued{Node: nodeA, Items: []IssuedItem{{Serial: exampleSerial(1), DER: exampleCertificate()}}},
		&RevokeCertificates{Items: []RevokeItem{{Serial: exampleSerial(1), Reason: lifecycle.KeyCompromise, InvalidityAt: 1767350000000, Comment: "laptop stolen"},
			{Serial: exampleSerial(2), Reason: lifecycle.CertificateHold}}},
		&ReleaseCertificates{Serials: []lifecycle.Serial{exampleSerial(2)}, Comment: "found again"},
		&AbandonIntents{Serials: []lifecycle.Serial{exampleSerial(1), exampleSerial(2)}},
		&PruneRevoked{Serials: []lifecycle.Serial{exampleSerial(1)}},
		&WarnExpiring{From: lifecycle.CertMark{NotAfter: 1767355200000, Serial: exampleSerial(1)}, To: lifecycle.CertMark{NotAfter: 1767355200000, Serial: exampleSerial(9)},
			Serials: []lifecycle.Serial{exampleSerial(2), exampleSerial(3)}},
		&GatherRevocations{Requests: []RevocationRequest{
			{Actor: "ada", RequestID: "019b7dd0-2c7b-7000-8000-000000000004", RequestDigest: filled(0x1a), Reads: []RowRef{{Table: "principals", Key: "ada", Rev: 7}, {Table: "tokens", Key: "tok-0001", Rev: 9}},
				Item: RevokeItem{Serial: exampleSerial(2), Reason: lifecycle.KeyCompromise, InvalidityAt: 1767350000000, Comment: "laptop stolen"}},
			{Actor: "web-01", RequestID: "019b7dd0-2c7b-7000-8000-000000000005", RequestDigest: filled(0x1b), Item: RevokeItem{Serial: exampleSerial(1), Reason: lifecycle.Superseded}}}},
		&GatherIssuance{
			Records: []RecordIssued{{Node: nodeB, Items: []IssuedItem{{Serial: exampleSerial(4), DER: exampleCertificate()}}}},
			Announcements: []IssueIntents{{Node: nodeA, Items: []IssueItem{{Serial: exampleSerial(5), Issuer: "corp", Version: 1, KID: exampleKID, Profile: "server", ProfileHash: filled(0x12),
				TBSHash: filled(0x1c), SPKIHash: filled(0x1d), Subject: "d.test", DNS: []string{"d.test"}, NotBefore: 1767354900000, NotAfter: 1769947200000, DeadlineAt: 1767355260000, Requester: "web-01"}}}}},
		&AllocateCRL{Node: nodeA, KID: exampleKID, Shard: 3, Number: 17, TBSHash: filled(0x18), ThisUpdate: 1767355200000, NextUpdate: 1767614400000, Entries: 4, AtIndex: 99},
		&BindResponder{Node: nodeB, Serial: exampleSerial(3)},
		&AnnounceResponder{Node: nodeB, SPKI: []byte{0x30, 0x03, 0x02, 0x01, 0x09}},
	}
}

// exampleCommand puts an example into a header with every field set.
func exampleCommand(b Body) *Command {
	return &Command{Header: Header{At: 1767355200123, Actor: "ada", Node: nodeA, RequestID: "019b7dd0-2c7b-7000-8000-000000000001",
		RequestDigest: filled(0x66), Reads: []RowRef{{Table: "keys", Key: "ci", Rev: 7}}}, Body: b}
}

func kinds() (out []Kind) {
	for k := range registry {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestExamplesCoverEveryKind(t *testing.T) {
	var got []Kind
	for _, b := range examples() {
		got = append(got, b.Kind())
		if err := exampleCommand(b).Check(); err != nil {
			t.Errorf("example of %s: %v", b.Kind(), err)
		}
	}
	if !slices.Equal(got, kinds()) {
		t.Fatalf("examples are of kinds %v,\nregistered are     %v", got, kinds())
	}
	for _, k := range kinds() {
		b := New(k)
		if b == nil || b.Kind() != k {
			t.Errorf("New(%d) makes %T, which says it is kind %d", k, b, b.Kind())
		}
		if typ := strings.TrimPrefix(strings.TrimPrefix(typeName(b), "*"), "command."); k.String() != typ {
			t.Errorf("kind %d is called %s, its type %s", k, k, typ)
		}
		if m := MinFormat(k); m < 1 || m > MaxFormat {
			t.Errorf("%s needs format %d, this binary knows 1 to %d", k, m, MaxFormat)
		}
	}
	if New(0) != nil || New(65535) != nil || Kind(65535).String() != "kind 65535" {
		t.Error("unregistered kinds must be unknown")
	}
}
