package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Event is one thing that happened: a leaf of the lifecycle log for those who
// watch. GET /v1/events streams them, key history lists them.
type Event struct {
	ID        string         `json:"id"` // EventID; several events of one entry share it
	At        Time           `json:"at"`
	Kind      string         `json:"kind"` // "key.revoked", "instance.ready", "node.joined", ...
	Key       Text           `json:"key"`
	Version   Number         `json:"version"` // null where the event is about no version
	KID       Text           `json:"kid"`
	Serial    Text           `json:"serial"`
	Node      Text           `json:"node"`
	Actor     string         `json:"actor"`
	RequestID Text           `json:"request_id"`
	Before    Text           `json:"before"`
	After     Text           `json:"after"`
	Reason    Text           `json:"reason"`
	Detail    string         `json:"detail,omitempty"`
	Data      map[string]any `json:"data"`
	Index     uint64         `json:"index"`
}

// EventClaims is the payload of what a webhook is sent: the event, and what tells a
// receiver that it is meant, and whether it has seen the event before.
type EventClaims struct {
	Event
	Cluster string `json:"cluster"` // id
	Webhook string `json:"webhook"` // name in the settings
	Number  uint64 `json:"number"`  // of the event in the cluster's log: grows from one to the next, and is the same when it comes again
	SentBy  string `json:"sent_by"` // name of the node
	NodeID  string `json:"node_id"` // of that node, as in the certificate
	SentAt  Time   `json:"sent_at"` // of this attempt
}

// LogEntry is one leaf of the lifecycle log. Leaf is the exact text whose RFC 6962
// leaf hash is in the tree.
type LogEntry struct {
	Number uint64 `json:"number"`
	Leaf   string `json:"leaf"`
	Event  Event  `json:"event"`
}

// LogProof proves, by RFC 6962 section 2.1, facts about the log of the position: its log_size
// leaves have the root log_root.
type LogProof struct {
	Leaf        *uint64  `json:"leaf,omitempty"`        // number of the leaf that was asked for
	Inclusion   [][]byte `json:"inclusion,omitempty"`   // that it stands there; none in a log of one leaf
	OldSize     *uint64  `json:"old_size,omitempty"`    // size that was asked for
	Consistency [][]byte `json:"consistency,omitempty"` // that the log begins with the one of that size; none for its own size
	Position    Position `json:"position"`
}

// AuditRecord is one line of the journal of the node that answers.
type AuditRecord struct {
	Seq       uint64 `json:"seq"`
	At        Time   `json:"at"`
	Node      string `json:"node"`
	Kind      string `json:"kind"`
	Principal string `json:"principal,omitempty"`
	Verb      string `json:"verb,omitempty"`
	Key       string `json:"key,omitempty"`
	Version   uint64 `json:"version,omitempty"`
	KID       string `json:"kid,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Remote    string `json:"remote,omitempty"`
	Allowed   bool   `json:"allowed"`
	Code      string `json:"code,omitempty"`
	Detail    string `json:"detail,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Index     uint64 `json:"index,omitempty"`
	Prev      string `json:"prev"`
	Hash      string `json:"hash"`
}

// AuditCheck is a node's own walk along its chain.
type AuditCheck struct {
	Node    string `json:"node"`
	OK      bool   `json:"ok"`
	Records uint64 `json:"records"`
	Head    string `json:"head"` // hash of the last line, hex: keep it elsewhere
	HeadSeq uint64 `json:"head_seq"`
	Why     Text   `json:"why"` // set unless ok
}

// InventoryItem is one instance in the inventory report.
type InventoryItem struct {
	Key            string              `json:"key"`
	Purpose        lifecycle.Purpose   `json:"purpose"`
	Alg            lifecycle.Algorithm `json:"alg"`
	Bits           int                 `json:"bits,omitempty"`
	Owner          string              `json:"owner"`
	BusinessReason string              `json:"business_reason"`
	Version        uint64              `json:"version"`
	State          lifecycle.State     `json:"state"`
	Node           string              `json:"node"`
	KID            Text                `json:"kid"`
	Condition      lifecycle.Condition `json:"condition"`
	Driver         Text                `json:"driver"`
	CKAID          string              `json:"cka_id"`
	Attributes     []string            `json:"attributes"`
	Extractable    *bool               `json:"extractable"` // null while unknown
	CreatedAt      Time                `json:"created_at"`
	ActivatedAt    Time                `json:"activated_at"`
	InTrustSet     bool                `json:"in_trust_set"`
	Overdue        bool                `json:"overdue"`
}
