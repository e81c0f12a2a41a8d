// Package report says which keys somebody should look at, and which control of which
// standard each finding speaks to. It is pure: a View and a time in, findings out, so
// that tables, files, metrics and tests all say the same.
package report

// Code names a kind of finding. Codes are part of the interface: they are added, never
// renamed.
type Code string

// Codes.
const (
	RotationOverdue    Code = "rotation_overdue"
	NeverRotated       Code = "never_rotated"
	NoRotationPeriod   Code = "no_rotation_period"
	RotationPaused     Code = "rotation_paused"
	RotationWaits      Code = "rotation_waits"
	NoActiveVersion    Code = "no_active_version"
	NoOwner            Code = "no_owner"
	PurposeExpired     Code = "purpose_expired"
	Unused             Code = "unused"
	Extractable        Code = "extractable"
	InstanceLost       Code = "instance_lost"
	AttributesUnknown  Code = "attributes_unknown"
	ConfirmationLapsed Code = "confirmation_lapsed"
	HumanCaller        Code = "human_caller"
	AnyCaller          Code = "any_caller"
)

// What the controls are called, each by its document and number, with the title that it
// has there or the gist of it; by the number alone where the title was not looked up.
// Tenets of SP 800-207 are counted as in its section 2.1.
const (
	owaspOffboarding = "OWASP NHI Top 10: NHI1:2025 Improper Offboarding"
	owaspLeakage     = "OWASP NHI Top 10: NHI2:2025 Secret Leakage"
	owaspOverPriv    = "OWASP NHI Top 10: NHI5:2025 Overprivileged NHI"
	owaspLongLived   = "OWASP NHI Top 10: NHI7:2025 Long-Lived Secrets"
	owaspHuman       = "OWASP NHI Top 10: NHI10:2025 Human Use of NHI"
	csfManaged       = "NIST CSF 2.0: PR.AA-01 identities and credentials are managed"
	csfAssertions    = "NIST CSF 2.0: PR.AA-04 identity assertions are protected, conveyed and verified"
	csfPermissions   = "NIST CSF 2.0: PR.AA-05 permissions are defined, managed, enforced and reviewed"
	keyPeriods       = "NIST SP 800-57 Part 1 Rev. 5: section 5.3 cryptoperiods"
	keyChange        = "NIST SP 800-57 Part 1 Rev. 5: section 8.2.3"
	keyStates        = "NIST SP 800-57 Part 1 Rev. 5: section 7 key states and transitions"
	keyDeregister    = "NIST SP 800-57 Part 1 Rev. 5: section 8.3 post-operational phase"
	keyProtection    = "NIST SP 800-57 Part 1 Rev. 5: section 6.2"
	zeroPosture      = "NIST SP 800-207: section 2.1, tenet 5, the posture of all assets is monitored"
	zeroEnforced     = "NIST SP 800-207: section 2.1, tenet 6, authorization is dynamic and enforced before access"
)

// Severity of a finding.
type Severity string

// Severities.
const (
	Warning Severity = "warning" // the policy, or what everybody expects, is not met
	Notice  Severity = "notice"  // somebody should know
)

// Subject is what a finding is about, and so who looks for it.
type Subject string

// Subjects.
const (
	AboutKey       Subject = "key"       // Keys
	AboutInstance  Subject = "instance"  // Instance
	AboutDependent Subject = "dependent" // Dependents
)

// Kinds describes every kind of finding, in the order of reports.
var Kinds = []struct {
	Code     Code
	Severity Severity
	About    Subject
	Meaning  string
	Controls []string
}{
	{RotationOverdue, Warning, AboutKey, "the active version is older than its policy allows", []string{owaspLongLived, csfManaged, keyPeriods, zeroPosture}},
	{NeverRotated, Notice, AboutKey, "the first version is still the one that signs, a year after it was made", []string{owaspLongLived, csfManaged, keyPeriods}},
	{NoRotationPeriod, Notice, AboutKey, "the policy says neither how often the key is rotated nor how old a version may become", []string{owaspLongLived, keyPeriods}},
	{RotationPaused, Notice, AboutKey, "somebody holds the plan", []string{keyChange, csfManaged}},
	{RotationWaits, Notice, AboutKey, "the next version is published, its lead has passed, and required consumers have not confirmed it", []string{keyChange, csfAssertions}},
	{NoActiveVersion, Warning, AboutKey, "nothing signs with the key, and it has not ended", []string{keyStates, csfManaged}},
	{NoOwner, Warning, AboutKey, "nobody answers for the key: its owner is empty or a principal that was revoked", []string{owaspOffboarding, csfManaged}},
	{PurposeExpired, Warning, AboutKey, "nobody has confirmed in time why the key exists", []string{owaspOffboarding, csfManaged, csfPermissions, keyDeregister}},
	{Unused, Notice, AboutKey, "the active version has signed nothing for 90 days", []string{owaspOffboarding, csfManaged, keyDeregister}},
	{Extractable, Warning, AboutInstance, "the key store can give the private key away", []string{owaspLeakage, keyProtection}},
	{InstanceLost, Warning, AboutInstance, "a node has lost its key pair of the version", []string{keyStates, zeroPosture}},
	{AttributesUnknown, Notice, AboutInstance, "the key store does not say how the private key is protected", []string{keyProtection, zeroPosture}},
	{ConfirmationLapsed, Warning, AboutDependent, "a required consumer has stopped confirming what it trusts", []string{csfAssertions, zeroPosture}},
	{HumanCaller, Notice, AboutDependent, "a person may sign with the key", []string{owaspHuman, csfPermissions, zeroEnforced}},
	{AnyCaller, Notice, AboutDependent, "the policy names no callers: every signer of the key's name may sign", []string{owaspOverPriv, csfPermissions, zeroEnforced}},
}

// Finding is one thing that somebody should look at.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint"` // a command
	Controls []string `json:"controls"`
}

var byCode = func() map[Code]int {
	m := map[Code]int{}
	for i, k := range Kinds {
		m[k.Code] = i
	}
	return m
}()

func finding(code Code, message, hint string) Finding {
	k := &Kinds[byCode[code]]
	return Finding{Code: code, Severity: k.Severity, Message: message, Hint: hint, Controls: k.Controls}
}
