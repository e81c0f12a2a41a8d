package authority

import (
	"context"
	"crypto/sha256"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// GossipKeys is where this node keeps the keys of the gossip.
type GossipKeys interface {
	// Draw makes the next key durable on this node and returns its digest. newest is
	// the one that the cluster names now, nil = none; until an entry has named what was
	// drawn, that is returned again.
	Draw(newest []byte) (digest []byte, err error)
}

// RotateGossipKey draws a new gossip key on this leader and tells the others its
// digest. They fetch the key from a member and believe what has that digest, so a
// stolen node can withhold a key and set none. The rotation goes on by itself after
// the entry; gossip carries no authority, so until then only hints are at stake.
func (s *Service) RotateGossipKey(ctx context.Context, req Request) (Result, error) {
	return s.change(ctx, req, access.ClusterEdit, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		if s.gossip == nil {
			return nil, nil, refuse("not_available", "chancery cluster show", "this node keeps no gossip keys")
		}
		c := v.Cluster()
		digest, err := s.gossipDigest(req, c.GossipKey)
		if err != nil {
			return nil, nil, err
		}
		return &command.RotateGossipKey{Digest: digest}, []command.RowRef{state.RefCluster(c)}, nil
	})
}

// gossipDigest is the digest of a fresh key; a plan is made with one of no key.
func (s *Service) gossipDigest(req Request, newest *lifecycle.GossipKey) ([]byte, error) {
	if req.DryRun {
		b := make([]byte, sha256.Size)
		return b, s.draw(b)
	}
	if newest == nil {
		return s.gossip.Draw(nil)
	}
	return s.gossip.Draw(newest.Digest)
}
