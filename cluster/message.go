package cluster

import (
	"context"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Peers calls other nodes. The transport implements it; the node id it calls is
// the one whose key answers.
type Peers interface {
	Confirm(ctx context.Context, node lifecycle.NodeID, req ConfirmReq) (ConfirmResp, error)
	ReadIndex(ctx context.Context, node lifecycle.NodeID, req ReadIndexReq) (ReadIndexResp, error)
	Members(ctx context.Context, node lifecycle.NodeID) (map[lifecycle.NodeID]Seed, error)
	Fence(ctx context.Context, node lifecycle.NodeID, req lease.FenceRequest) (lease.FenceAck, error)
}

// ConfirmReq asks a voter whether it knows of a term later than the leader's.
type ConfirmReq struct {
	Nonce  string           `json:"nonce"`
	Term   uint64           `json:"term"`
	Leader lifecycle.NodeID `json:"leader"`
}

// ConfirmResp answers it. Node, Server and Nonce must be the ones that were asked:
// a node that was rebuilt has forgotten terms, and does not speak for the voter
// that it was.
type ConfirmResp struct {
	Nonce  string           `json:"nonce"`
	Term   uint64           `json:"current_term"`
	Node   lifecycle.NodeID `json:"node"`
	Server string           `json:"server"` // <node id>.<incarnation>
	Report Report           `json:"report"`
}

// ReadIndexReq asks the leader how far a reader must have applied to see every
// write acknowledged before the request was received. It may ask for a lease too.
type ReadIndexReq struct {
	Cluster string         `json:"cluster"`
	Epoch   uint64         `json:"epoch"`
	Nonce   string         `json:"nonce"`
	Report  Report         `json:"report"`
	Lease   *lease.Request `json:"lease,omitempty"`
}

// ReadIndexResp answers it, with what the leader knows of every node, so that
// each node can show the whole cluster.
type ReadIndexResp struct {
	Nonce   string           `json:"nonce"`
	Term    uint64           `json:"term"`
	Leader  lifecycle.NodeID `json:"leader"`
	Index   uint64           `json:"index"`
	Reports []Report         `json:"reports"`
	Grant   *lease.Grant     `json:"grant,omitempty"`
	Refused string           `json:"refused,omitempty"` // why a lease that was asked for is not granted
}

// Report is what a node says of itself. It is information for people and for
// comparing digests; no right follows from it.
type Report struct {
	Node          lifecycle.NodeID `json:"node"`
	Index         uint64           `json:"index"`        // FSM index
	WallMS        int64            `json:"wall_ms"`      // unix milliseconds
	StalenessMS   int64            `json:"staleness_ms"` // -1 = never fresh
	OffsetMS      int64            `json:"offset_ms"`    // filled in by the leader: its wall clock minus the leader's
	AgeMS         int64            `json:"age_ms"`       // filled in by the leader: how long ago it was heard
	Mark          ReportMark       `json:"mark"`
	Verified      bool             `json:"verified"` // the state file has been read as a whole
	Version       string           `json:"version"`
	CertExpiresMS int64            `json:"cert_expires_ms"`
	DiskFull      bool             `json:"disk_full,omitempty"` // its reserve is given up
	KeyStore      KeyStoreReport   `json:"keystore"`
	Lease         LeaseReport      `json:"lease"`
}

// LeaseReport is a node's right to release signatures, as it counts it itself.
type LeaseReport struct {
	Usable      bool          `json:"usable"`
	Why         string        `json:"why,omitempty"` // it is not usable
	ExpiresInMS int64         `json:"expires_in_ms"` // 0 = none is held
	MinIndex    uint64        `json:"min_index"`
	Boot        string        `json:"boot_id"`
	Fenced      uint64        `json:"fenced_index"`
	Clock       lease.Reading `json:"clock"`
}

// ReportMark is a state.Mark with its hashes in base64.
type ReportMark struct {
	Index   uint64 `json:"index"`
	LogSize uint64 `json:"log_size"`
	Root    []byte `json:"root"`
	Digest  []byte `json:"digest"`
}

// KeyStoreReport is the health of a node's partition.
type KeyStoreReport struct {
	Driver  string `json:"driver"`
	OK      bool   `json:"ok"`
	Why     string `json:"why,omitempty"`
	Orphans int    `json:"orphans"`
	Missing int    `json:"missing"`
}

func reportMark(m state.Mark) ReportMark {
	return ReportMark{Index: m.Index, LogSize: m.LogSize, Root: m.Root, Digest: m.Digest}
}

// report is this node's word on itself.
func (n *Node) report() Report {
	v := n.View()
	r := Report{Node: n.ID, Index: v.Position().Index, WallMS: n.Wall().UnixMilli(), StalenessMS: -1, Mark: reportMark(v.Mark())}
	if p := n.freshest.Load(); p != nil {
		r.StalenessMS = (n.Elapsed() - p.begun).Milliseconds()
	}
	select {
	case <-n.fsm.Verified():
		r.Verified = true
	default:
	}
	r.Lease = n.leaseReport(v.Position().Index)
	n.Report(&r)
	return r
}
