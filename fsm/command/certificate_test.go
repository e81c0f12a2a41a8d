package command

import (
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestCertificateChecks(t *testing.T) {
	bad(t, "no certificates", func(c *IssueIntents) { c.Items = nil })
	bad(t, "too many certificates", func(c *IssueIntents) { c.Items = slices.Repeat(c.Items[:1], MaxIssueItems+1) })
	bad(t, "a serial of another form", func(c *IssueIntents) { c.Items[0].Serial[0] = 2 })
	bad(t, "no TBS hash", func(c *IssueIntents) { c.Items[0].TBSHash = nil })
	bad(t, "a short profile hash", func(c *IssueIntents) { c.Items[0].ProfileHash = filled(1)[1:] })
	bad(t, "no key", func(c *IssueIntents) { c.Items[0].SPKIHash = nil })
	bad(t, "a fraction of a second", func(c *IssueIntents) { c.Items[0].NotAfter++ })
	bad(t, "an end before its beginning", func(c *IssueIntents) { c.Items[0].NotAfter = c.Items[0].NotBefore })
	bad(t, "an end past 9999", func(c *IssueIntents) { c.Items[0].NotAfter = MaxInstant + 1 })
	bad(t, "no deadline", func(c *IssueIntents) { c.Items[0].DeadlineAt = 0 })
	bad(t, "nobody who asks", func(c *IssueIntents) { c.Items[0].Requester = "" })
	bad(t, "an empty name", func(c *IssueIntents) { c.Items[0].DNS[0] = "" })
	bad(t, "a request without a digest", func(c *IssueIntents) { c.Items[0].RequestDigest = nil })
	bad(t, "a renewal of nothing", func(c *IssueIntents) { c.Items[1].Replaces = nil })
	bad(t, "a certificate and a token that ask", func(c *IssueIntents) { c.Items[1].TokenID = "tok-0001" })
	good(t, "a request without an id", func(c *IssueIntents) { c.Items[0].RequestID, c.Items[0].RequestDigest = "", nil })
	bad(t, "no certificate", func(c *RecordIssued) { c.Items[0].DER = nil })
	bad(t, "a byte too many", func(c *RecordIssued) { c.Items[0].DER = append(c.Items[0].DER, 0) })
	bad(t, "a huge certificate", func(c *RecordIssued) { c.Items[0].DER = make([]byte, MaxCertBytes+1) })
	bad(t, "a certificate cut short", func(c *BindCACert) { c.DER = c.DER[:len(c.DER)-1] })
	bad(t, "serials out of order", func(c *RevokeCertificates) { slices.Reverse(c.Items) })
	bad(t, "a serial twice", func(c *AbandonIntents) { c.Serials[1] = c.Serials[0] })
	bad(t, "no serials", func(c *ReleaseCertificates) { c.Serials = nil })
	bad(t, "too many serials", func(c *PruneRevoked) { c.Serials = make([]lifecycle.Serial, MaxRevokeItems+1) })
	bad(t, "a warning that goes back", func(c *WarnExpiring) { c.From, c.To = c.To, c.From })
	bad(t, "a warning that stands still", func(c *WarnExpiring) { c.To = c.From })
	bad(t, "too many warnings", func(c *WarnExpiring) { c.Serials = make([]lifecycle.Serial, MaxWarnItems+1) })
	good(t, "a warning about nothing", func(c *WarnExpiring) { c.Serials = nil })
	bad(t, "no reason", func(c *RevokeCertificates) { c.Items[0].Reason = "" })
	bad(t, "removeFromCRL", func(c *RevokeCertificates) { c.Items[0].Reason = "removeFromCRL" })
	bad(t, "an invalidity before 1970", func(c *RevokeCertificates) { c.Items[0].InvalidityAt = -1 })
}

func TestIssuerChecks(t *testing.T) {
	bad(t, "another purpose", func(c *CreateIssuer) { c.Key.Purpose = lifecycle.ForCode })
	bad(t, "no parent", func(c *CreateIssuer) { c.Parent = "" })
	bad(t, "a parent of a root", func(c *CreateIssuer) { c.Of = lifecycle.RootIssuer })
	bad(t, "an unknown kind", func(c *CreateIssuer) { c.Of = "leaf" })
	bad(t, "a root on every node", func(c *CreateIssuer) { c.Of, c.Parent = lifecycle.RootIssuer, "" })
	bad(t, "no common name", func(c *SetIssuer) { c.Terms.CommonName = "" })
	bad(t, "a long common name", func(c *SetIssuer) { c.Terms.CommonName = long[:lifecycle.MaxSubjectBytes-8] })
	bad(t, "a negative path length", func(c *SetIssuer) { c.Terms.PathLen = -1 })
	bad(t, "CRLs that end before the next", func(c *SetIssuer) { c.Terms.CRLValid = c.Terms.CRLEvery })
	bad(t, "the cluster's own profile", func(c *SetProfile) { c.Name = lifecycle.ProfileCA })
	bad(t, "the cluster's own profile", func(c *DropProfile) { c.Name = lifecycle.ProfileOCSP })
	bad(t, "a default past the longest", func(c *SetProfile) { c.Terms.DefaultValidity = c.Terms.MaxValidity + 1 })
	bad(t, "no key usage", func(c *SetProfile) { c.Terms.Usage = nil })
	bad(t, "a rule for nobody", func(c *SetProfile) { c.Terms.Names[0].Requester = "" })
	bad(t, "number 0", func(c *AllocateCRL) { c.Number = 0 })
	bad(t, "a CRL without an end", func(c *AllocateCRL) { c.NextUpdate = c.ThisUpdate })
	bad(t, "a CRL of no state", func(c *AllocateCRL) { c.AtIndex = 0 })
	bad(t, "a shard too many", func(c *AllocateCRL) { c.Shard = MaxCRLShards + 1 })
	bad(t, "no public key", func(c *AnnounceResponder) { c.SPKI = nil })
	bad(t, "a serial of another form", func(c *BindResponder) { c.Serial[0] = 0 })
}
