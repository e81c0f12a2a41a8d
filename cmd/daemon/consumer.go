package daemon

import (
	"context"

	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/peer"
)

// Verbs about consumers. None of them makes another node's word count for a consumer's:
// canaries are checked by who asked for them, a verdict is about a challenge that the
// node itself made, and fetches are weak evidence.
const (
	verbCanaries  = "sign-canaries"
	verbChallenge = "answer-challenge"
	verbFetches   = "report-fetches"
)

type canariesReq struct {
	Canary signing.Canary `json:"canary"`
	Items  []int          `json:"items"`
}

// serveConsumers registers what other nodes may ask about consumers.
func serveConsumers(s *peer.Server, signer *signing.Signer, desk *consumer.Desk) {
	peer.Handle(s, verbCanaries, func(ctx context.Context, _ peer.From, req canariesReq) ([][]byte, error) {
		return signer.Canaries(ctx, req.Canary, req.Items)
	})
	peer.Handle(s, verbChallenge, func(_ context.Context, _ peer.From, a consumer.Answer) (consumer.Verdict, error) {
		return desk.Judge(a), nil
	})
	peer.Handle(s, verbFetches, func(_ context.Context, _ peer.From, list []consumer.Fetch) (empty, error) {
		return empty{}, desk.TakeFetches(list)
	})
}

// consumerPeers asks other nodes on behalf of the desk.
type consumerPeers struct{ client *peer.Client }

func (p consumerPeers) SignCanaries(ctx context.Context, node lifecycle.NodeID, c signing.Canary, items []int) ([][]byte, error) {
	return peer.Call[canariesReq, [][]byte](ctx, p.client, node, verbCanaries, canariesReq{c, items})
}

func (p consumerPeers) AnswerChallenge(ctx context.Context, node lifecycle.NodeID, a consumer.Answer) (consumer.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return peer.Call[consumer.Answer, consumer.Verdict](ctx, p.client, node, verbChallenge, a)
}

func (p consumerPeers) ReportFetches(ctx context.Context, leader lifecycle.NodeID, list []consumer.Fetch) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	_, err := peer.Call[[]consumer.Fetch, empty](ctx, p.client, leader, verbFetches, list)
	return err
}
