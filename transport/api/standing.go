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
// has the key, and did not ask this cluster.
func (c *call) addRecord(out *wire.Verification, d signing.Verdict, k *lifecycle.Key, sig []byte) error {
	s, err := signing.Stand(c.snap.View, d, sig)
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
		}
	}
	out.Record = c.record(s)
	if out.Record.State == wire.SignatureNotRecorded {
		out.Suspicious, out.Valid = true, false
		out.Why = wire.Text(fmt.Sprintf("the signature verifies, and the log does not know it: %s is strict, so this cluster never released it. "+
			"Somebody else has used the key: chancery key replace %s --emergency --reason keyCompromise", k.ID, k.ID))
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
