package state

import (
	"github.com/chancery-project/chancery/fsm/command"
)

// gatherRevocations takes requests that share an entry one after the other. Each is what
// it would be in an entry of its own: a repeat gets its first answer, one whose caller
// has changed is planned again, and rows, leaf and operation name who asked for it. None
// is refused because of another, and one about a certificate that an earlier one has
// just revoked finds it revoked.
//
// Nothing is undone within the entry: a request that is refused has written nothing but
// that it was.
func (x *tx) gatherRevocations(c *command.GatherRevocations) Outcome {
	if o := x.ofCluster(); !o.OK() {
		return o
	}
	entry := x.head
	defer func() { x.head = entry }()
	all, remembered := make([]Outcome, len(c.Requests)), 0
	x.expect(4 * len(c.Requests))
	for i := range c.Requests {
		r := &c.Requests[i]
		x.head = r.EntryHeader(entry)
		o, done := x.replay()
		if !done {
			o = x.revokeFor(r)
		}
		if !o.Replayed {
			o.Index = x.index
		}
		if !done && !o.plannedAgain() {
			x.putOperation(command.KindRevokeCertificates, o)
			remembered++
		}
		all[i] = o
	}
	x.putTallies()
	if remembered > 0 {
		x.forgetOperations(remembered)
	}
	return Outcome{Requests: all}
}

// revokeFor judges one request and carries it out.
func (x *tx) revokeFor(r *command.RevocationRequest) Outcome {
	if row, moved := x.conflicts(r.Reads); moved {
		return refuse(Conflict, row, "the row has changed since the command was planned")
	}
	row, o := x.revocable(&r.Item)
	if !o.OK() {
		return o
	}
	x.revokeOne(row, &r.Item)
	x.recordCertificate("cert.revoked", "", row)
	return Outcome{Subject: r.Item.Serial.String(), Key: row.Issuer, Groups: make([]GroupOutcome, 1)}
}
