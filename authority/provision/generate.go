package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// generate completes the generation of one pending instance. The error has been dealt
// with; it only says that the job is not done.
func (r *Reconciler) generate(ctx context.Context, view *state.View, h holding) error {
	err := r.complete(ctx, view, h)
	if err == nil || ctx.Err() != nil {
		r.trouble(&r.waiting, "", h.i, "")
		return err
	}
	r.trouble(&r.waiting, "key pair not made yet", h.i, err.Error())
	if lasting(err) {
		r.explain(ctx, h, err)
	}
	return err
}

// lasting reports whether a failure needs an operator, so that the cluster should
// know. A device that does not answer for a while is no news for the log.
func lasting(err error) bool {
	for _, e := range []error{hsm.ErrUnsupported, hsm.ErrExists, hsm.ErrAmbiguous, hsm.ErrMismatch, hsm.ErrCorrupt, hsm.ErrLocked, hsm.ErrSignature} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// explain puts the reason beside the pending instance, once per reason.
func (r *Reconciler) explain(ctx context.Context, h holding, err error) {
	detail := printable(err.Error())
	if detail == h.i.Detail || detail == r.details[h.i.CKAID] {
		return
	}
	c := command.ReportCondition{Key: h.i.Key, Version: h.i.Version, Node: h.i.Node, Condition: lifecycle.Lost, Detail: detail}
	if err := r.reporter.Report(ctx, c); err != nil {
		r.log.Warn("reason not reported", "key", h.i.Key, "version", h.i.Version, "err", err)
		return
	}
	r.details[h.i.CKAID] = detail
}

// complete finds or makes the pair, proves possession and binds it.
func (r *Reconciler) complete(ctx context.Context, view *state.View, h holding) error {
	o, err := r.findOrGenerate(ctx, h)
	if err != nil {
		return err
	}
	// If we die here the pair exists and the log does not know its public key: the
	// next run finds it by CKA_ID and goes on below.
	if err := fits(h.k, o.SPKI); err != nil {
		return fmt.Errorf("the key pair found under the intent's CKA_ID is not what the key asks for: %w", err)
	}
	kid, err := publish.Thumbprint(o.SPKI)
	if err != nil {
		return err
	}
	bind := command.BindInstance{Key: h.i.Key, Version: h.i.Version, Node: h.i.Node, CKAID: h.i.CKAID, SPKI: o.SPKI, KID: kid,
		Driver: r.store.Driver(), Attributes: attributes(r.store.Driver(), o.Attributes)}
	proof, err := r.prove(ctx, view, h, &bind)
	if err != nil {
		return err
	}
	fault.Reached(fault.PairMade)
	if err := r.reporter.Bind(ctx, bind, proof); err != nil {
		return fmt.Errorf("bind the public key: %w", err)
	}
	fault.Reached(fault.PairBound)
	// If we die here, or the answer was lost, Bind is said again and answered as done.
	r.sent[h.i.CKAID] = h.i.Condition
	r.log.Info("key pair made", "key", h.i.Key, "version", h.i.Version, "cka_id", h.i.CKAID.String(), "kid", kid)
	return nil
}

func (r *Reconciler) prove(ctx context.Context, view *state.View, h holding, bind *command.BindInstance) (Proof, error) {
	ctx, cancel := device(ctx)
	defer cancel()
	return prove(ctx, r.store, h.k, view.Cluster().ID, bind)
}

// findOrGenerate returns the pair under the intent's CKA_ID and makes it when the
// store says that there is none.
func (r *Reconciler) findOrGenerate(ctx context.Context, h holding) (hsm.Object, error) {
	o, err := r.find(ctx, h.i.CKAID)
	if !errors.Is(err, hsm.ErrNotFound) {
		return o, err
	}
	if err := r.stillPending(ctx, h); err != nil {
		return hsm.Object{}, err
	}
	ctx, cancel := device(ctx)
	defer cancel()
	o, err = r.store.Generate(ctx, hsm.Spec{ID: hsm.ObjectID(h.i.CKAID), Alg: h.k.Alg, Bits: h.k.Bits,
		Label: fmt.Sprintf("%s/%d", h.i.Key, h.i.Version)})
	if err != nil {
		return o, fmt.Errorf("generate key pair: %w", err)
	}
	return o, nil
}

func (r *Reconciler) find(ctx context.Context, id lifecycle.CKAID) (hsm.Object, error) {
	ctx, cancel := device(ctx)
	defer cancel()
	o, err := r.store.Find(ctx, hsm.ObjectID(id))
	if err != nil {
		return o, fmt.Errorf("look up key pair: %w", err)
	}
	return o, nil
}

// stillPending asks a fresh View before anything is made: where our own state lags,
// the instance may have had its key for long and lost it, and a second key under the
// same CKA_ID would hide that.
func (r *Reconciler) stillPending(ctx context.Context, h holding) error {
	fresh, err := r.ledger.Read(ctx, ledger.Freshness{Level: ledger.Bounded})
	if err != nil {
		return fmt.Errorf("make sure that the key pair is still wanted: %w", err)
	}
	i, v := fresh.Instance(h.i.Key, h.i.Version, h.i.Node), fresh.Version(h.i.Key, h.i.Version)
	if i == nil || v == nil || i.CKAID != h.i.CKAID || !(holding{i, v, h.k}).toMake() {
		return errors.New("the key pair is not wanted any more")
	}
	return nil
}

// attributes renders what the store reports for the log. A software store has no
// PKCS#11 attributes beyond the three it can answer for.
func attributes(driver string, a hsm.Attributes) []string {
	values := map[string]bool{"CKA_SENSITIVE": a.Sensitive, "CKA_EXTRACTABLE": a.Extractable, "CKA_SIGN": a.Sign}
	if driver != hsm.DriverSoft {
		for name, v := range map[string]bool{"CKA_ALWAYS_SENSITIVE": a.AlwaysSensitive, "CKA_NEVER_EXTRACTABLE": a.NeverExtractable,
			"CKA_DECRYPT": a.Decrypt, "CKA_UNWRAP": a.Unwrap, "CKA_DERIVE": a.Derive,
			"CKA_MODIFIABLE": a.Modifiable, "CKA_COPYABLE": a.Copyable, "CKA_LOCAL": a.Local} {
			values[name] = v
		}
	}
	out := make([]string, 0, len(values))
	for name, v := range values {
		out = append(out, name+"="+strconv.FormatBool(v))
	}
	slices.Sort(out)
	return out
}

// printable fits a text to what the log accepts.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f || c == 0xfffd {
			return ' '
		}
		return c
	}, s)
	if len(s) > command.MaxTextBytes {
		s = strings.ToValidUTF8(s[:command.MaxTextBytes], "")
	}
	return s
}
