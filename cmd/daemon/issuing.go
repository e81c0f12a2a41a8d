package daemon

import (
	"context"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/peer"
)

// startIssuing makes the office, and starts what makes certificates without being asked.
func (d *Daemon) startIssuing(ctx context.Context) {
	d.office = issuing.New(issuing.Config{Ledger: d.node, Signer: d.signer, Log: certificateLog{d.reporter}, Clock: time.Now, Elapsed: elapsed, Base: d.publicBase})
	keeper := issuing.NewKeeper(d.office, d.log)
	keeper.Start(ctx)
	d.background(keeper.Wait)
	warden := issuing.NewWarden(&audited{d.node, d.journal}, time.Now, d.log)
	warden.Start(ctx)
	d.background(warden.Wait)
}

// publicBase is what addresses in certificates begin with: the cluster's public URL, for
// a certificate outlives the node that signed it, or else this node's own.
func (d *Daemon) publicBase() string {
	if c := d.node.View().Cluster(); c != nil && c.Settings.PublicURL != "" {
		return strings.TrimSuffix(c.Settings.PublicURL, "/")
	}
	return d.publicURL()
}

// certificateLog is the office's way into the log.
type certificateLog struct{ *reporter }

func (l certificateLog) Announce(ctx context.Context, c command.IssueIntents) (state.Outcome, error) {
	return report(ctx, l.reporter, verbAnnounce, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return p.IssueIntents(ctx, &c) })
}

func (l certificateLog) Record(ctx context.Context, c command.RecordIssued) (state.Outcome, error) {
	return report(ctx, l.reporter, verbIssued, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return p.RecordIssued(ctx, &c) })
}

func (l certificateLog) BindCACert(ctx context.Context, c command.BindCACert) (state.Outcome, error) {
	return report(ctx, l.reporter, verbBindCA, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return p.BindCACert(ctx, &c) })
}

func (l certificateLog) BindResponder(ctx context.Context, c command.BindResponder) (state.Outcome, error) {
	return report(ctx, l.reporter, verbBindResponder, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return p.BindResponder(ctx, &c) })
}

func (l certificateLog) AnnounceResponder(ctx context.Context, c command.AnnounceResponder) (state.Outcome, error) {
	return report(ctx, l.reporter, verbResponder, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) {
		return p.AnnounceResponder(ctx, &c)
	})
}

func (l certificateLog) AllocateCRL(ctx context.Context, c command.AllocateCRL) (state.Outcome, error) {
	return report(ctx, l.reporter, verbAllocateCRL, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return p.AllocateCRL(ctx, &c) })
}

// serveIssuing registers what other nodes report of certificates.
func serveIssuing(s *peer.Server, svc *authority.Service) {
	said(s, svc, verbAnnounce, (*authority.Peer).IssueIntents)
	said(s, svc, verbIssued, (*authority.Peer).RecordIssued)
	said(s, svc, verbBindCA, (*authority.Peer).BindCACert)
	said(s, svc, verbResponder, (*authority.Peer).AnnounceResponder)
	said(s, svc, verbBindResponder, (*authority.Peer).BindResponder)
	said(s, svc, verbAllocateCRL, (*authority.Peer).AllocateCRL)
}

// said registers a verb whose message is a command about the node that sends it.
func said[C any](s *peer.Server, svc *authority.Service, verb string, do func(*authority.Peer, context.Context, *C) (state.Outcome, error)) {
	peer.Handle(s, verb, func(ctx context.Context, from peer.From, req C) (state.Outcome, error) {
		return do(svc.Peer(from.Node, from.Remote), ctx, &req)
	})
}
