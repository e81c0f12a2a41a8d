package issuing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Timing of a Keeper.
const (
	firstPause = time.Second     // after a step that went wrong
	maxPause   = time.Minute     // however often it does
	maxRest    = 5 * time.Minute // certificates come of age without any change in the log
	minRest    = 200 * time.Millisecond
)

// Task is one certificate of the cluster's own that lacks, and that this node's
// instances are to sign.
type Task struct {
	Kind     string // "root", "ca" or "ocsp"
	Issuer   *lifecycle.Issuer
	Instance *lifecycle.Instance // that gets a CA certificate
	Node     *lifecycle.Node     // that gets a responder certificate
	Parent   *lifecycle.CACert   // whose instance signs; nil for a root
}

// Plan lists what lacks and is this node's to sign, as of now. Each certificate has one
// node that makes it, so that two never make the same.
func Plan(v *state.View, self lifecycle.NodeID, now lifecycle.Instant) (tasks []Task) {
	me := v.Node(self)
	if me == nil || !me.Signs() {
		return nil
	}
	for _, is := range v.Issuers() {
		k := v.Key(is.Name)
		if k == nil || is.Kind == lifecycle.ExternalIssuer {
			continue
		}
		for _, ver := range v.Versions(is.Name) {
			if ver.Distrusts() || ver.State == lifecycle.Destroyed {
				continue
			}
			for _, i := range v.Instances(is.Name, ver.Number) {
				if i.Condition != lifecycle.Ready || !due(v, v.CACert(is.Name, ver.Number, i.Node), now) {
					continue
				}
				if is.Kind == lifecycle.RootIssuer {
					if i.Node == self && i.MayIntroduce(ver) {
						tasks = append(tasks, Task{Kind: "root", Issuer: is, Instance: i})
					}
				} else if parent := signer(v, is.Parent, i.Node, now); parent != nil && parent.Node == self {
					tasks = append(tasks, Task{Kind: lifecycle.ProfileCA, Issuer: is, Instance: i, Parent: parent})
				}
			}
		}
	}
	return append(tasks, delegates(v, self, now)...)
}

// due reports whether an instance needs a CA certificate, or a newer one: half of its
// life is over, or nobody believes in the one above it any more. One that was revoked
// gets none.
func due(v *state.View, have *lifecycle.CACert, now lifecycle.Instant) bool {
	if have == nil {
		return true
	}
	return have.Revocation == nil && (now > have.NotBefore+(have.NotAfter-have.NotBefore)/2 || v.Forsaken(have))
}

// signer is the CA certificate whose instance signs for an instance on a node: the
// parent's instance on the same node, or else its first.
func signer(v *state.View, parent lifecycle.KeyID, node lifecycle.NodeID, now lifecycle.Instant) (found *lifecycle.CACert) {
	k := v.Key(parent)
	if k == nil {
		return nil
	}
	ver := v.Version(parent, k.Active)
	if ver == nil {
		return nil
	}
	for _, i := range v.Instances(parent, ver.Number) {
		ca, n := v.CACert(parent, ver.Number, i.Node), v.Node(i.Node)
		if ca == nil || ca.Revocation != nil || now >= ca.NotAfter || n == nil || !n.Signs() || !i.MaySign(ver) {
			continue
		}
		if i.Node == node || found == nil {
			found = ca
		}
	}
	return found
}

// delegates lists the responder certificates that this node's instances are to sign.
func delegates(v *state.View, self lifecycle.NodeID, now lifecycle.Instant) (tasks []Task) {
	for _, ca := range v.CACerts("") {
		ver, is := v.Version(ca.Issuer, ca.Version), v.Issuer(ca.Issuer)
		if ca.Node != self || ca.Revocation != nil || now >= ca.NotAfter || ver == nil || is == nil {
			continue
		}
		if i := v.Instance(ca.Issuer, ca.Version, self); i == nil || !i.MayUphold(ver) {
			continue
		}
		for _, n := range v.Nodes() {
			if n.Status == lifecycle.Removed || len(n.ResponderKey) == 0 {
				continue
			}
			if have := v.Responder(ca.KID, n.ID); have == nil || now > have.NotBefore+(have.NotAfter-have.NotBefore)/2 || !sameKey(have, n) {
				tasks = append(tasks, Task{Kind: lifecycle.ProfileOCSP, Issuer: is, Node: n, Parent: ca})
			}
		}
	}
	return tasks
}

func sameKey(r *lifecycle.Responder, n *lifecycle.Node) bool {
	sum := sha256.Sum256(n.ResponderKey)
	return bytes.Equal(r.SPKIHash, sum[:])
}

// Keeper makes what Plan lists, on one node, in one goroutine.
type Keeper struct {
	office *Office
	log    *slog.Logger
	done   chan struct{}
}

// NewKeeper makes a Keeper; it starts nothing.
func NewKeeper(o *Office, log *slog.Logger) *Keeper {
	return &Keeper{office: o, log: log, done: make(chan struct{})}
}

// Start runs the keeper until ctx ends.
func (k *Keeper) Start(ctx context.Context) {
	go func() {
		defer close(k.done)
		k.run(ctx)
	}()
}

// Wait returns when the keeper has ended.
func (k *Keeper) Wait() { <-k.done }

func (k *Keeper) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		v := k.office.Ledger.View()
		failed := k.pass(ctx, v)
		rest := maxRest
		if failed {
			rest, pause = pause, min(2*pause, maxPause)
		} else {
			pause = firstPause
		}
		k.sleep(ctx, minRest, nil) // a burst of changes costs one look
		k.sleep(ctx, rest, k.changed(v, failed))
	}
}

// changed is woken by any entry; after a failure only time helps.
func (k *Keeper) changed(v *state.View, failed bool) <-chan struct{} {
	if failed {
		return nil
	}
	return k.office.Ledger.Changed(v.Position().Index)
}

func (k *Keeper) sleep(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-woken:
	case <-t.C:
	}
}

// pass makes everything that lacks, parents before children, and reports whether
// something could not be made.
func (k *Keeper) pass(ctx context.Context, v *state.View) (failed bool) {
	o := k.office
	tasks := Plan(v, o.Ledger.NodeID(), o.now())
	slices.SortStableFunc(tasks, func(a, b Task) int { return order(a) - order(b) })
	for _, t := range tasks {
		if ctx.Err() != nil {
			return true
		}
		if err := o.Do(ctx, v, t); err != nil {
			failed = true
			k.log.Warn("a certificate of the cluster's own could not be made; it is tried again", "kind", t.Kind, "issuer", t.Issuer.Name, "err", err)
			continue
		}
		k.log.Info("certificate of the cluster's own made", "kind", t.Kind, "issuer", t.Issuer.Name)
	}
	return failed
}

func order(t Task) int {
	return slices.Index([]string{"root", lifecycle.ProfileCA, lifecycle.ProfileOCSP}, t.Kind)
}

// Do makes one certificate.
func (o *Office) Do(ctx context.Context, v *state.View, t Task) error {
	switch t.Kind {
	case "root":
		return o.root(ctx, v, t.Issuer, t.Instance)
	case lifecycle.ProfileCA:
		return o.certify(ctx, v, t.Issuer, t.Instance, t.Parent)
	}
	return o.delegate(ctx, v, t.Node, t.Parent)
}
