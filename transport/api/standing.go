package api

import (
	"fmt"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// addRecord says where a signature stands in the log, when its key is strict or was. A
// valid one that the log has to know and does not is not called valid: whoever made it
// has the key, and did not ask this cluster. A canary is called what it is: the log has
// none of them, nobody suspects one, and a strict key's is not valid as anything else.
func (c *call) addRecord(out *wire.Verification, d signing.Verdict, k *lifecycle.Key, message, sig []byte) error {
	v := c.snap.View
	s, err := signing.Stand(v, d, sig)
	if err != nil {
		return err
	}
	if s.Leaf == nil && !k.Policy.Strict {
		return nil
	}
	if s.Leaf == nil && s.Must {
		// The state here may be older than the signature. Nobody is accused out of that.
		newest, err := c.reader.Read(c.r.Context(), ledger.Freshness{Level: ledger.Linearizable})
		if err != nil {
			s.Must, s.Why = false, "the newest state could not be asked, and the one here may be older than the signature: ask again"
		} else if s, err = signing.Stand(newest.View, d, sig); err != nil {
			return err
		} else {
			v = newest.View
		}
	}
	out.Record = c.record(s)
	switch canary, ok := signing.CanaryOf(v, d, message); {
	case ok && s.Leaf == nil:
		out.Canary = &wire.SignedCanary{Consumer: canary.Consumer, Instance: canary.Instance}
		out.Record.State, out.Record.Why = wire.SignatureNotRecorded, "no canary is"
		if out.Valid {
			out.Valid, out.Why = false, wire.Text(fmt.Sprintf("it is a canary, made so that %s could prove what it verifies with: it shows that its author had the key, and is no statement by the owner of %s", canary.Consumer, k.ID))
		}
	case out.Record.State == wire.SignatureNotRecorded:
		out.Suspicious, out.Valid = true, false
		out.Why = wire.Text(fmt.Sprintf("the signature verifies, and the log does not know it: %s is strict, so this cluster never released it. "+
			"Somebody else has used the key: chancery key replace %s --emergency --reason keyCompromise", k.ID, k.ID))
		if message == nil {
			out.Why += " (Was it the digest of a consumer's canary? Send the message: a digest does not say.)"
		}
	}
	return nil
}

func (c *call) record(s signing.Standing) *wire.SignatureRecord {
	out := &wire.SignatureRecord{State: wire.SignatureUnknown, Why: wire.Text(s.Why), CompromisedSince: wire.Time(s.CompromisedSince)}
	switch {
	case s.Leaf != nil:
		out.State, out.Index, out.At = wire.SignatureRecorded, s.Leaf.Index, wire.Time(s.Leaf.At)
		if access.Decide(c.snap.Principal(c.caller.Principal), access.LogRead, "").Allowed {
			out.By, out.RequestID = wire.Text(s.Leaf.Actor), wire.Text(s.Leaf.RequestID)
		}
		if s.CompromisedSince != 0 {
			out.Stands = wire.AfterCompromise
			if s.Before() {
				out.Stands = wire.BeforeCompromise
			}
		}
	case s.Must:
		out.State = wire.SignatureNotRecorded
	}
	return out
}
