package wire

// Finding is one thing about a key that somebody should look at, and the controls of
// the standards that it speaks to.
type Finding struct {
	Code     string   `json:"code"`
	Severity string   `json:"severity"` // warning or notice
	Message  string   `json:"message"`
	Hint     string   `json:"hint"`
	Controls []string `json:"controls"`
}

// RotationReport says which keys are inside their policy. Totals are of all keys, on
// the first page only; the items are keys with findings.
type RotationReport struct {
	Totals   *RotationTotals `json:"totals"`
	Items    []KeyFindings   `json:"items"` // never nil
	Next     Text            `json:"next"`
	Position *Position       `json:"position,omitempty"`
	AsOf     Time            `json:"as_of,omitzero"`
}

// RotationTotals count keys. Keys that have ended are in Ended and nowhere else.
type RotationTotals struct {
	Keys             int            `json:"keys"`
	Ended            int            `json:"ended"`
	WithinPolicy     int            `json:"within_policy"` // without a warning
	WithinPolicyPerc float64        `json:"within_policy_percent"`
	Findings         map[string]int `json:"findings"` // by code
}

// KeyFindings is one key with what was found.
type KeyFindings struct {
	Key           string    `json:"key"`
	Owner         string    `json:"owner"`
	Purpose       string    `json:"purpose"`
	ActiveVersion uint64    `json:"active_version"`
	ActivatedAt   Time      `json:"activated_at"`
	DueAt         Time      `json:"due_at"`
	ConfirmBy     Time      `json:"business_reason_confirm_by"`
	Signatures    uint64    `json:"signatures"`
	LastUsedAt    Time      `json:"last_used_at"`
	Findings      []Finding `json:"findings"`
}

// DependentOf is one that something would happen to if a key ended.
type DependentOf struct {
	Kind       string    `json:"kind"` // consumer, caller or certificate
	Name       string    `json:"name"`
	Class      string    `json:"class,omitempty"`
	Owner      string    `json:"owner,omitempty"`
	Contact    string    `json:"contact,omitempty"`
	Expect     int       `json:"expect,omitempty"`
	Have       int       `json:"have,omitempty"`
	Count      uint64    `json:"count,omitempty"`
	LastSeenAt Time      `json:"last_seen_at"`
	Effect     string    `json:"effect"`
	Findings   []Finding `json:"findings"`
}
