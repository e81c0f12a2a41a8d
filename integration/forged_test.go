package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/peer"
)

// forges sends messages of the barrier that a stolen node has no right to: each is
// refused for its own reason, and counted where it was refused.
func (th *thief) forges(c *lab, lead, victim *node) {
	th.t.Helper()
	leadID, victimID := nodeID(c, lead), nodeID(c, victim)
	id := th.certificate.Leaf.URIs[0].Host // of the cluster
	nonce, boot := strings.Repeat("0", 32), strings.Repeat("1", 32)
	fence := func(change func(*lease.FenceRequest)) error {
		r := lease.FenceRequest{Cluster: id, Epoch: 1, Nonce: nonce, Index: 1, Term: 1 << 40, Leader: th.id}
		change(&r)
		return say(th, victimID, "fence", r)
	}
	th.refused("a fence in the leader's name", fence(func(r *lease.FenceRequest) { r.Leader = leadID }), lease.WrongSender)
	th.refused("a fence for another cluster", fence(func(r *lease.FenceRequest) { r.Cluster = strings.Repeat("2", len(id)) }), lease.OtherCluster)
	th.refused("a fence for another epoch", fence(func(r *lease.FenceRequest) { r.Epoch = 2 }), lease.OtherEpoch)
	th.refused("a fence of a deposed leader", fence(func(r *lease.FenceRequest) { r.Term = 1 }), lease.OlderTerm)
	th.refused("a fence without a nonce", fence(func(r *lease.FenceRequest) { r.Nonce = "" }), lease.Malformed)
	// Asked for an entry that is not there, a node vouches for nothing.
	th.refused("a fence of the future", fence(func(r *lease.FenceRequest) { r.Index = 1 << 40 }), "before it is fenced")

	ask := func(change func(*lease.Request)) string {
		r := lease.Request{Cluster: id, Epoch: 1, Node: th.id, Boot: boot, Seq: 1, Nonce: nonce, Applied: 1, LogSize: 1,
			Root: make([]byte, 32), Digest: make([]byte, 32), HSMOK: true, Clock: lease.System()}
		change(&r)
		return th.lease(leadID, r)
	}
	for reason, change := range map[string]func(*lease.Request){
		lease.WrongSender:  func(r *lease.Request) { r.Node = victimID },
		lease.OtherCluster: func(r *lease.Request) { r.Cluster = strings.Repeat("2", len(id)) },
		lease.OtherEpoch:   func(r *lease.Request) { r.Epoch = 2 },
		lease.Malformed:    func(r *lease.Request) { r.Boot = "?" },
	} {
		if refused := ask(change); !strings.Contains(refused, "("+reason+")") {
			th.t.Errorf("a lease by a forged request was refused with %q, not as %s", refused, reason)
		}
	}
	counts := func(n *node, role string, reasons ...string) {
		text := scrape(th, n)
		for _, reason := range reasons {
			if line := fmt.Sprintf("chancery_cluster_lease_messages_rejected_total{reason=%q,role=%q} ", reason, role); !strings.Contains(text, line) {
				th.t.Errorf("%s does not count what it refuses: no %s", n.name, line)
			}
		}
	}
	counts(victim, "holder", lease.WrongSender, lease.OtherCluster, lease.OtherEpoch, lease.OlderTerm, lease.Malformed)
	counts(lead, "leader", lease.WrongSender, lease.OtherCluster, lease.OtherEpoch, lease.Malformed)
}

// lease asks the leader for one, in a message whose sender is right, and returns why
// there is none.
func (th *thief) lease(leader lifecycle.NodeID, r lease.Request) string {
	th.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req := cluster.ReadIndexReq{Nonce: "1", Report: cluster.Report{Node: th.id}, Lease: &r}
	resp, err := peer.Call[cluster.ReadIndexReq, cluster.ReadIndexResp](ctx, th.peers, leader, "read-index", req)
	if err != nil {
		return err.Error()
	}
	if resp.Grant != nil {
		th.t.Errorf("a lease was granted: %+v", *resp.Grant)
	}
	return resp.Refused
}

func scrape(th *thief, n *node) string {
	th.t.Helper()
	resp, err := http.Get("http://" + n.metrics + "/metrics")
	if err != nil {
		th.t.Fatal(err)
	}
	defer resp.Body.Close() // read only
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		th.t.Fatal(err)
	}
	return string(text)
}
