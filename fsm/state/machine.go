package state

import (
	"encoding/hex"
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// MaxClockStep is how far one ordinary command may move Clock forward. A node
// whose wall clock is a year ahead is refused instead of expiring everything.
const MaxClockStep = lifecycle.Day

// Root is one published state: immutable, shared by every reader.
type Root struct {
	hot  *hot
	Meta Meta
}

// Machine applies entries in index order. It belongs to one goroutine.
type Machine struct {
	hot  *hot
	meta Meta
	edge edge    // of the lifecycle log
	room changes // of the entry before
}

// NewMachine starts from an empty state.
func NewMachine() *Machine { return &Machine{hot: new(hot)} }

// LoadMachine decodes the hot tables and the meta row out of a transaction.
func LoadMachine(r Reader) (*Machine, error) {
	m := NewMachine()
	meta, ok, err := loadMeta(r)
	if err != nil {
		return nil, fmt.Errorf("load the state: %w", err)
	}
	if !ok {
		return m, nil
	}
	m.meta = meta
	if m.edge, err = loadEdge(r, meta.LogSize); err != nil {
		return nil, fmt.Errorf("load the state: %w", err)
	}
	rows := hotTx{base: m.hot}
	for _, t := range Tables {
		if !t.Hot() {
			continue
		}
		r.Ascend(t, "", func(key string, b []byte) bool {
			row := newRow(t)
			if err = command.Unmarshal(b, row); err != nil {
				err = fmt.Errorf("load row %s/%q: %w", t, key, err)
				return false
			}
			rows.put(t, rows.share(key, row), row)
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	m.hot = rows.freeze()
	return m, nil
}

// Root is the state as it stands.
func (m *Machine) Root() *Root { return &Root{hot: m.hot, Meta: m.meta} }

// Index of the last entry taken in.
func (m *Machine) Index() uint64 { return m.meta.Index }

// Skip takes in an entry that is not ours (a Raft configuration, a no-op): only
// the index moves.
func (m *Machine) Skip(index uint64) { m.meta.Index = index }

// Apply takes one entry in. term is the one of the log in which a leader stored it,
// 0 where there are no leaders. It returns the outcome, or panics with *Corruption or
// *Divergence.
func (m *Machine) Apply(b Backend, index, term uint64, entry []byte) Outcome {
	cmd, err := command.Decode(entry)
	if err != nil {
		panic(&Corruption{Index: index, Err: err})
	}
	return m.ApplyCommand(b, index, term, cmd)
}

// ApplyCommand is Apply for an entry that is decoded already. The command belongs to
// the state from then on.
func (m *Machine) ApplyCommand(b Backend, index, term uint64, cmd *command.Command) Outcome {
	if index <= m.meta.Index {
		panic(&Corruption{Index: index, Err: fmt.Errorf("entry %d was taken in already", m.meta.Index)})
	}
	x := &tx{cold: b, hot: hotTx{base: m.hot}, clock: m.meta.Clock, index: index, term: term, head: &cmd.Header, hash: hex.EncodeToString(cmd.Digest[:]), changes: m.room.empty()}
	m.meta.Index = index
	o := m.step(x, b, cmd)
	m.room = x.changes
	if !o.Replayed {
		o.Index = index // a repeat is told where it was carried out: its fence is there
	}
	return o
}

// step carries the entry out, or refuses it without a trace beyond the record of
// the refusal.
func (m *Machine) step(x *tx, b Backend, cmd *command.Command) Outcome {
	if o := m.admit(x, cmd); !o.OK() {
		return o
	}
	m.meta.Clock = x.clock
	if o, done := x.replay(); done {
		return o
	}
	o := execute(x, cmd)
	if o.plannedAgain() {
		return o
	}
	if !o.OK() {
		refused := &tx{cold: x.cold, hot: hotTx{base: m.hot}, clock: x.clock, index: x.index, head: x.head}
		o.Index = x.index
		refused.remember(cmd.Body.Kind(), o)
		m.flush(refused, b)
		return o
	}
	o.Index = x.index
	x.remember(cmd.Body.Kind(), o)
	m.flush(x, b)
	m.checkpoint(cmd)
	return o
}

// admit checks what is needed to take the entry's time seriously, and moves the
// tx's clock. What fails here is not remembered under its request id: it would be
// refused again.
func (m *Machine) admit(x *tx, cmd *command.Command) Outcome {
	if err := cmd.Check(); err != nil {
		return refuse(Invalid, "", "%v", err)
	}
	c := x.cluster()
	_, isInit := cmd.Body.(*command.Init)
	if c == nil && !isInit {
		return refuse(NotInitialised, "", "the cluster has no genesis entry")
	}
	if c != nil && command.MinFormat(cmd.Body.Kind()) > c.Format {
		return refuse(FormatTooLow, cmd.Body.Kind().String(), "needs format %d, the cluster is at %d: upgrade every voter, then raise the format", command.MinFormat(cmd.Body.Kind()), c.Format)
	}
	at := cmd.Header.At
	if adv, ok := cmd.Body.(*command.AdvanceClock); ok {
		median, o := x.median(adv)
		if !o.OK() {
			return o
		}
		at = median
	} else if c != nil && at > x.clock.Add(MaxClockStep) {
		return refuse(ClockAhead, "", "the proposer's clock says %s, the cluster's %s: more than %s ahead; set the clock of that node", at, x.clock, MaxClockStep)
	}
	x.clock = max(x.clock, at)
	return Outcome{}
}

// execute runs the checks and the handler of the command.
func execute(x *tx, cmd *command.Command) Outcome {
	if row, moved := x.conflicts(cmd.Header.Reads); moved {
		return refuse(Conflict, row, "the row has changed since the command was planned")
	}
	if o := x.guard(cmd.Body); !o.OK() {
		return o
	}
	return handle(x, cmd.Body)
}

// handle runs the handler of a command that nothing holds back.
func handle(x *tx, body command.Body) Outcome {
	switch c := body.(type) {
	case *command.Init:
		return x.init(c)
	case *command.AdvanceClock, *command.MarkCheckpoint:
		return Outcome{}
	case *command.RecordCheckpoint:
		return x.recordCheckpoint(c)
	case *command.RaiseFormat:
		return x.raiseFormat(c)
	case *command.SetSettings:
		return x.setSettings(c)
	case *command.NoteDelivered:
		return x.noteDelivered(c)
	case *command.AddJoinToken:
		return x.addJoinToken(c)
	case *command.JoinNode:
		return x.joinNode(c)
	case *command.UpdateNode:
		return x.updateNode(c)
	case *command.SetNodeRoles:
		return x.setNodeRoles(c)
	case *command.SetNodeStatus:
		return x.setNodeStatus(c)
	case *command.CreateKey:
		return x.createKey(c)
	case *command.PrepareVersion:
		return x.prepareVersion(c)
	case *command.PlanInstances:
		return x.planInstances(c)
	case *command.BindInstance:
		return x.bindInstance(c)
	case *command.ReportCondition:
		return x.reportCondition(c)
	case *command.PublishVersion:
		return x.publishVersion(c)
	case *command.ActivateVersion:
		return x.activateVersion(c)
	case *command.AdmitInstance:
		return x.admitInstance(c)
	case *command.SuspendVersion:
		return x.suspendVersion(c)
	case *command.ResumeVersion:
		return x.resumeVersion(c)
	case *command.DeactivateVersion:
		return x.deactivateVersion(c)
	case *command.WithdrawVersion:
		return x.withdrawVersion(c)
	case *command.Revoke:
		return x.revoke(c)
	case *command.ScheduleDestroy:
		return x.scheduleDestroy(c)
	case *command.BeginErasure:
		return x.beginErasure(c)
	case *command.ConfirmErased:
		return x.confirmErased(c)
	case *command.SetPolicy:
		return x.setPolicy(c)
	case *command.ConfirmPurpose:
		return x.confirmPurpose(c)
	case *command.AddPrincipal:
		return x.addPrincipal(c)
	case *command.RevokePrincipal:
		return x.revokePrincipal(c)
	case *command.AddToken:
		return x.addToken(c)
	case *command.RevokeToken:
		return x.revokeToken(c)
	case *command.RecordFenced:
		return x.recordFenced(c)
	case *command.RecordSettled:
		return x.recordSettled(c)
	case *command.RecordSignatures:
		return x.recordSignatures(c)
	case *command.ReportSeal:
		return x.reportSeal(c)
	case *command.LiftSeal:
		return x.liftSeal(c)
	case *command.ReportTally:
		return x.reportTally(c)
	case *command.OpenProposal:
		return x.openProposal(c)
	case *command.Approve:
		return x.approve(c)
	case *command.RejectProposal:
		return x.rejectProposal(c)
	case *command.WithdrawProposal:
		return x.withdrawProposal(c)
	case *command.ExecuteProposal:
		return x.executeProposal(c)
	case *command.ExpireProposals:
		return x.expireProposals(c)
	case *command.BreakGlass:
		return x.breakGlass(c)
	case *command.RegisterConsumer:
		return x.registerConsumer(c)
	case *command.UpdateConsumer:
		return x.updateConsumer(c)
	case *command.RetireConsumer:
		return x.retireConsumer(c)
	case *command.EnrolConsumer:
		return x.enrolConsumer(c)
	case *command.RecordConfirmations:
		return x.recordConfirmations(c)
	case *command.LapseConfirmations:
		return x.lapseConfirmations(c)
	case *command.WaiveConsumer:
		return x.waiveConsumer(c)
	case *command.PauseRotation:
		return x.pauseRotation(c)
	case *command.ResumeRotation:
		return x.resumeRotation(c)
	case *command.SkipGate:
		return x.skipGate(c)
	case *command.RollBack:
		return x.rollBack(c)
	case *command.NoteWaiting:
		return x.noteWaiting(c)
	case *command.Replace:
		return x.replace(c)
	case *command.RotateGossipKey:
		return x.rotateGossipKey(c)
	case *command.CreateIssuer:
		return x.createIssuer(c)
	case *command.BindCACert:
		return x.bindCACert(c)
	case *command.SetIssuer:
		return x.setIssuer(c)
	case *command.SetProfile:
		return x.setProfile(c)
	case *command.DropProfile:
		return x.dropProfile(c)
	case *command.IssueIntents:
		return x.issueIntents(c)
	case *command.RecordIssued:
		return x.recordIssued(c)
	case *command.RevokeCertificates:
		return x.revokeCertificates(c)
	case *command.ReleaseCertificates:
		return x.releaseCertificates(c)
	case *command.AbandonIntents:
		return x.abandonIntents(c)
	case *command.PruneRevoked:
		return x.pruneRevoked(c)
	case *command.WarnExpiring:
		return x.warnExpiring(c)
	case *command.GatherRevocations:
		return x.gatherRevocations(c)
	case *command.GatherIssuance:
		return x.gatherIssuance(c)
	case *command.AllocateCRL:
		return x.allocateCRL(c)
	case *command.BindResponder:
		return x.bindResponder(c)
	case *command.AnnounceResponder:
		return x.announceResponder(c)
	}
	panic(&Corruption{Index: x.index, Err: fmt.Errorf("%w: %s has no handler", command.ErrUnknownKind, body.Kind())})
}

// flush makes the tx's work part of the state.
func (m *Machine) flush(x *tx, b Backend) {
	for i := range x.writes {
		w := &x.writes[i]
		w.encode()
		if w.old == nil && w.new == nil {
			continue // made and dropped by the same entry
		}
		m.meta.account(w)
		if w.new == nil {
			b.Delete(w.table, w.key)
		} else {
			b.Put(w.table, w.key, w.new)
		}
	}
	for i := range x.leaves {
		record := x.leaves[i].Encode()
		b.Put(TableLog, number(m.meta.LogSize), record)
		m.edge.append(b, m.meta.LogSize, record)
		m.meta.LogSize++
	}
	m.hot = x.hot.freeze()
	if c := x.cluster(); c != nil {
		m.meta.Epoch = c.Epoch
	}
}

// Seal ends a batch: it computes the log root, stores the meta row and returns
// what to publish once the transaction has committed.
func (m *Machine) Seal(b Backend) *Root {
	m.refreshRoot()
	b.Put(TableMeta, metaKey, m.meta.encode())
	return m.Root()
}

func (m *Machine) refreshRoot() {
	if m.meta.LogSize > 0 {
		m.meta.LogRoot = m.edge.root()
	}
}

// Trial runs a command on a View without changing anything, so that a doomed
// one is refused before it costs a log entry. It does not look at RequestIDs.
func Trial(v *View, cmd *command.Command) Outcome {
	o, _ := Rehearse(v, cmd)
	return o
}

// Rehearse is Trial, and the fence that the command would open: nil when it takes no
// right to sign away, or is refused.
func Rehearse(v *View, cmd *command.Command) (Outcome, *lifecycle.Fence) {
	return rehearse(v, cmd, execute)
}

// RehearseApproved is Rehearse for a command that waits for approvals: what would come
// of it if it had them.
func RehearseApproved(v *View, cmd *command.Command) (Outcome, *lifecycle.Fence) {
	return rehearse(v, cmd, func(x *tx, cmd *command.Command) Outcome { return handle(x, cmd.Body) })
}

func rehearse(v *View, cmd *command.Command, run func(*tx, *command.Command) Outcome) (Outcome, *lifecycle.Fence) {
	m := &Machine{hot: v.root.hot, meta: v.root.Meta}
	rows := &lazy{cold: v.cold}
	x := &tx{cold: rows, hot: hotTx{base: m.hot}, clock: m.meta.Clock, index: m.meta.Index + 1, head: &cmd.Header}
	if o := m.admit(x, cmd); !o.OK() {
		return o, nil
	}
	o := run(x, cmd)
	if rows.err != nil {
		return refuse(Conflict, "", "it cannot be tried: %v", rows.err), nil
	}
	if !o.OK() {
		return o, nil
	}
	return o, get[lifecycle.Fence](x, TableFences, fenceKey(fenceOpen, x.index))
}
