package command

import (
	"crypto/sha256"
	"fmt"
)

// RevocationRequest is somebody's request to revoke one certificate, as the header of an
// entry of its own would carry it.
type RevocationRequest struct {
	Actor         string     `cbor:"1,keyasint"` // the principal who asks
	RequestID     string     `cbor:"2,keyasint"`
	RequestDigest []byte     `cbor:"3,keyasint"`           // SHA-256 of the request as asked
	Reads         []RowRef   `cbor:"4,keyasint,omitempty"` // rows that its decision rests on
	Item          RevokeItem `cbor:"5,keyasint"`
}

func (r *RevocationRequest) check() error {
	if err := text("actor", r.Actor, true); err != nil {
		return err
	}
	if _, err := RequestTime(r.RequestID); err != nil {
		return err
	}
	if err := size("request digest", len(r.RequestDigest), sha256.Size, sha256.Size); err != nil {
		return err
	}
	if err := count("revisions", len(r.Reads), MaxGatheredReads); err != nil {
		return err
	}
	if err := checkRefs(r.Reads); err != nil {
		return err
	}
	for _, ref := range r.Reads { // those of callers: no number stands in their names
		if err := printable("row key", ref.Table+ref.Key); err != nil {
			return err
		}
	}
	return r.Item.check()
}

// GatherRevocations carries requests to revoke one certificate each that came at the same
// time: every one is judged, remembered and answered as if it stood in an entry of its
// own, in the order they stand here. Only the leader proposes it.
type GatherRevocations struct {
	Requests []RevocationRequest `cbor:"1,keyasint"`
}

func (*GatherRevocations) Kind() Kind { return KindGatherRevocations }

func (c *GatherRevocations) Check() error {
	if len(c.Requests) == 0 {
		return fmt.Errorf("no revocation is asked for")
	}
	if err := count("requests", len(c.Requests), MaxGathered); err != nil {
		return err
	}
	for i := range c.Requests {
		if err := c.Requests[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// AsRequest is the command as a request that can share an entry with others; nil when it
// needs one of its own.
func (c *RevokeCertificates) AsRequest(h *Header) *RevocationRequest {
	if len(c.Items) != 1 || h.RequestID == "" || len(h.Reads) > MaxGatheredReads {
		return nil
	}
	return &RevocationRequest{Actor: h.Actor, RequestID: h.RequestID, RequestDigest: h.RequestDigest, Reads: h.Reads, Item: c.Items[0]}
}

// EntryHeader is the header that the request would have in an entry of its own.
func (r *RevocationRequest) EntryHeader(of *Header) *Header {
	return &Header{At: of.At, Actor: r.Actor, Node: of.Node, RequestID: r.RequestID, RequestDigest: r.RequestDigest, Reads: r.Reads}
}
