package command

import "strconv"

// Kind is the number of a command in the log. Numbers are never reused.
type Kind uint16

const (
	KindInit             Kind = 1
	KindAdvanceClock     Kind = 2
	KindRaiseFormat      Kind = 3
	KindMarkCheckpoint   Kind = 4
	KindRecordCheckpoint Kind = 5
	KindSetSettings      Kind = 6
	KindNoteDelivered    Kind = 7

	KindAddJoinToken  Kind = 10
	KindJoinNode      Kind = 11
	KindUpdateNode    Kind = 12
	KindSetNodeRoles  Kind = 13
	KindSetNodeStatus Kind = 14

	KindCreateKey         Kind = 20
	KindPrepareVersion    Kind = 21
	KindPlanInstances     Kind = 22
	KindBindInstance      Kind = 23
	KindReportCondition   Kind = 24
	KindPublishVersion    Kind = 25
	KindActivateVersion   Kind = 26
	KindAdmitInstance     Kind = 27
	KindSuspendVersion    Kind = 28
	KindResumeVersion     Kind = 29
	KindDeactivateVersion Kind = 30
	KindWithdrawVersion   Kind = 31
	KindRevoke            Kind = 32
	KindScheduleDestroy   Kind = 33
	KindBeginErasure      Kind = 34
	KindConfirmErased     Kind = 35
	KindSetPolicy         Kind = 36
	KindConfirmPurpose    Kind = 37

	KindAddPrincipal    Kind = 50
	KindRevokePrincipal Kind = 51
	KindAddToken        Kind = 52
	KindRevokeToken     Kind = 53

	KindRecordFenced     Kind = 60
	KindRecordSettled    Kind = 61
	KindRecordSignatures Kind = 62
	KindReportSeal       Kind = 63
	KindLiftSeal         Kind = 64
	KindReportTally      Kind = 65

	KindOpenProposal     Kind = 70
	KindApprove          Kind = 71
	KindRejectProposal   Kind = 72
	KindWithdrawProposal Kind = 73
	KindExecuteProposal  Kind = 74
	KindExpireProposals  Kind = 75
	KindBreakGlass       Kind = 76

	KindRegisterConsumer    Kind = 80
	KindUpdateConsumer      Kind = 81
	KindRetireConsumer      Kind = 82
	KindEnrolConsumer       Kind = 83
	KindRecordConfirmations Kind = 84
	KindLapseConfirmations  Kind = 85
	KindWaiveConsumer       Kind = 86
	KindPauseRotation       Kind = 90
	KindResumeRotation      Kind = 91
	KindSkipGate            Kind = 92
	KindRollBack            Kind = 93
	KindReplace             Kind = 94
	KindNoteWaiting         Kind = 95

	KindRotateGossipKey Kind = 100

	KindCreateIssuer Kind = 110
	KindBindCACert   Kind = 111
	KindSetIssuer    Kind = 112
	KindSetProfile   Kind = 113
	KindDropProfile  Kind = 114

	KindIssueIntents        Kind = 120
	KindRecordIssued        Kind = 121
	KindRevokeCertificates  Kind = 122
	KindReleaseCertificates Kind = 123
	KindAbandonIntents      Kind = 124
	KindPruneRevoked        Kind = 125
	KindWarnExpiring        Kind = 126
	KindGatherRevocations   Kind = 127
	KindGatherIssuance      Kind = 128

	KindAllocateCRL       Kind = 130
	KindBindResponder     Kind = 131
	KindAnnounceResponder Kind = 132
)

var registry = map[Kind]struct {
	name string
	new  func() Body
}{
	KindInit:                {"Init", func() Body { return new(Init) }},
	KindAdvanceClock:        {"AdvanceClock", func() Body { return new(AdvanceClock) }},
	KindRaiseFormat:         {"RaiseFormat", func() Body { return new(RaiseFormat) }},
	KindMarkCheckpoint:      {"MarkCheckpoint", func() Body { return new(MarkCheckpoint) }},
	KindRecordCheckpoint:    {"RecordCheckpoint", func() Body { return new(RecordCheckpoint) }},
	KindSetSettings:         {"SetSettings", func() Body { return new(SetSettings) }},
	KindNoteDelivered:       {"NoteDelivered", func() Body { return new(NoteDelivered) }},
	KindAddJoinToken:        {"AddJoinToken", func() Body { return new(AddJoinToken) }},
	KindJoinNode:            {"JoinNode", func() Body { return new(JoinNode) }},
	KindUpdateNode:          {"UpdateNode", func() Body { return new(UpdateNode) }},
	KindSetNodeRoles:        {"SetNodeRoles", func() Body { return new(SetNodeRoles) }},
	KindSetNodeStatus:       {"SetNodeStatus", func() Body { return new(SetNodeStatus) }},
	KindCreateKey:           {"CreateKey", func() Body { return new(CreateKey) }},
	KindPrepareVersion:      {"PrepareVersion", func() Body { return new(PrepareVersion) }},
	KindPlanInstances:       {"PlanInstances", func() Body { return new(PlanInstances) }},
	KindBindInstance:        {"BindInstance", func() Body { return new(BindInstance) }},
	KindReportCondition:     {"ReportCondition", func() Body { return new(ReportCondition) }},
	KindPublishVersion:      {"PublishVersion", func() Body { return new(PublishVersion) }},
	KindActivateVersion:     {"ActivateVersion", func() Body { return new(ActivateVersion) }},
	KindAdmitInstance:       {"AdmitInstance", func() Body { return new(AdmitInstance) }},
	KindSuspendVersion:      {"SuspendVersion", func() Body { return new(SuspendVersion) }},
	KindResumeVersion:       {"ResumeVersion", func() Body { return new(ResumeVersion) }},
	KindDeactivateVersion:   {"DeactivateVersion", func() Body { return new(DeactivateVersion) }},
	KindWithdrawVersion:     {"WithdrawVersion", func() Body { return new(WithdrawVersion) }},
	KindRevoke:              {"Revoke", func() Body { return new(Revoke) }},
	KindScheduleDestroy:     {"ScheduleDestroy", func() Body { return new(ScheduleDestroy) }},
	KindBeginErasure:        {"BeginErasure", func() Body { return new(BeginErasure) }},
	KindConfirmErased:       {"ConfirmErased", func() Body { return new(ConfirmErased) }},
	KindSetPolicy:           {"SetPolicy", func() Body { return new(SetPolicy) }},
	KindConfirmPurpose:      {"ConfirmPurpose", func() Body { return new(ConfirmPurpose) }},
	KindAddPrincipal:        {"AddPrincipal", func() Body { return new(AddPrincipal) }},
	KindRevokePrincipal:     {"RevokePrincipal", func() Body { return new(RevokePrincipal) }},
	KindAddToken:            {"AddToken", func() Body { return new(AddToken) }},
	KindRevokeToken:         {"RevokeToken", func() Body { return new(RevokeToken) }},
	KindRecordFenced:        {"RecordFenced", func() Body { return new(RecordFenced) }},
	KindRecordSettled:       {"RecordSettled", func() Body { return new(RecordSettled) }},
	KindRecordSignatures:    {"RecordSignatures", func() Body { return new(RecordSignatures) }},
	KindReportSeal:          {"ReportSeal", func() Body { return new(ReportSeal) }},
	KindLiftSeal:            {"LiftSeal", func() Body { return new(LiftSeal) }},
	KindReportTally:         {"ReportTally", func() Body { return new(ReportTally) }},
	KindOpenProposal:        {"OpenProposal", func() Body { return new(OpenProposal) }},
	KindApprove:             {"Approve", func() Body { return new(Approve) }},
	KindRejectProposal:      {"RejectProposal", func() Body { return new(RejectProposal) }},
	KindWithdrawProposal:    {"WithdrawProposal", func() Body { return new(WithdrawProposal) }},
	KindExecuteProposal:     {"ExecuteProposal", func() Body { return new(ExecuteProposal) }},
	KindExpireProposals:     {"ExpireProposals", func() Body { return new(ExpireProposals) }},
	KindBreakGlass:          {"BreakGlass", func() Body { return new(BreakGlass) }},
	KindRegisterConsumer:    {"RegisterConsumer", func() Body { return new(RegisterConsumer) }},
	KindUpdateConsumer:      {"UpdateConsumer", func() Body { return new(UpdateConsumer) }},
	KindRetireConsumer:      {"RetireConsumer", func() Body { return new(RetireConsumer) }},
	KindEnrolConsumer:       {"EnrolConsumer", func() Body { return new(EnrolConsumer) }},
	KindRecordConfirmations: {"RecordConfirmations", func() Body { return new(RecordConfirmations) }},
	KindLapseConfirmations:  {"LapseConfirmations", func() Body { return new(LapseConfirmations) }},
	KindWaiveConsumer:       {"WaiveConsumer", func() Body { return new(WaiveConsumer) }},
	KindPauseRotation:       {"PauseRotation", func() Body { return new(PauseRotation) }},
	KindResumeRotation:      {"ResumeRotation", func() Body { return new(ResumeRotation) }},
	KindSkipGate:            {"SkipGate", func() Body { return new(SkipGate) }},
	KindRollBack:            {"RollBack", func() Body { return new(RollBack) }},
	KindNoteWaiting:         {"NoteWaiting", func() Body { return new(NoteWaiting) }},
	KindReplace:             {"Replace", func() Body { return new(Replace) }},
	KindRotateGossipKey:     {"RotateGossipKey", func() Body { return new(RotateGossipKey) }},
	KindCreateIssuer:        {"CreateIssuer", func() Body { return new(CreateIssuer) }},
	KindBindCACert:          {"BindCACert", func() Body { return new(BindCACert) }},
	KindSetIssuer:           {"SetIssuer", func() Body { return new(SetIssuer) }},
	KindSetProfile:          {"SetProfile", func() Body { return new(SetProfile) }},
	KindDropProfile:         {"DropProfile", func() Body { return new(DropProfile) }},
	KindIssueIntents:        {"IssueIntents", func() Body { return new(IssueIntents) }},
	KindRecordIssued:        {"RecordIssued", func() Body { return new(RecordIssued) }},
	KindRevokeCertificates:  {"RevokeCertificates", func() Body { return new(RevokeCertificates) }},
	KindReleaseCertificates: {"ReleaseCertificates", func() Body { return new(ReleaseCertificates) }},
	KindAbandonIntents:      {"AbandonIntents", func() Body { return new(AbandonIntents) }},
	KindPruneRevoked:        {"PruneRevoked", func() Body { return new(PruneRevoked) }},
	KindWarnExpiring:        {"WarnExpiring", func() Body { return new(WarnExpiring) }},
	KindGatherRevocations:   {"GatherRevocations", func() Body { return new(GatherRevocations) }},
	KindGatherIssuance:      {"GatherIssuance", func() Body { return new(GatherIssuance) }},
	KindAllocateCRL:         {"AllocateCRL", func() Body { return new(AllocateCRL) }},
	KindBindResponder:       {"BindResponder", func() Body { return new(BindResponder) }},
	KindAnnounceResponder:   {"AnnounceResponder", func() Body { return new(AnnounceResponder) }},
}

// New returns an empty command of the kind, nil when the kind is unknown.
func New(k Kind) Body {
	if r, ok := registry[k]; ok {
		return r.new()
	}
	return nil
}

func (k Kind) String() string {
	if r, ok := registry[k]; ok {
		return r.name
	}
	return "kind " + strconv.Itoa(int(k))
}

// The replicated Formats, each with what it lets into the log. A cluster is founded in the
// first and raised by its leader when every member knows a newer one.
const (
	formatFirst    uint64 = 1
	formatGathered uint64 = 2 // GatherRevocations
	formatIssuance uint64 = 3 // GatherIssuance

	// MaxFormat is the newest Format this binary understands.
	MaxFormat = formatIssuance
)

// MinFormat is the replicated Format from which the kind may be proposed and applied.
func MinFormat(k Kind) uint64 {
	switch k {
	case KindGatherRevocations:
		return formatGathered
	case KindGatherIssuance:
		return formatIssuance
	}
	return formatFirst
}
