package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// errNoEvidence is returned for a key pair that is not there although nobody here
// began to destroy it.
var errNoEvidence = errors.New("the key pair is not in the key store, and no destruction of it was begun here: that it was erased cannot be confirmed; if the token is gone for good, remove the node")

// erase destroys one key pair and gives the evidence. The error has been dealt with.
func (r *Reconciler) erase(ctx context.Context, h holding) error {
	evidence, err := r.destroy(ctx, h)
	if err == nil {
		err = r.confirm(ctx, h, evidence)
	}
	switch {
	case ctx.Err() != nil:
	case err == nil:
		r.trouble(&r.unconfirmed, "", h.i, "")
	default:
		r.trouble(&r.unconfirmed, "erasure not confirmed", h.i, err.Error())
	}
	return err
}

// destroy returns the evidence that the pair is gone.
func (r *Reconciler) destroy(ctx context.Context, h holding) (string, error) {
	begun, err := r.notes.read(h.i.CKAID)
	if err != nil {
		return "", err
	}
	o, err := r.find(ctx, h.i.CKAID)
	switch {
	case errors.Is(err, hsm.ErrNotFound):
		return r.absent(ctx, h, begun)
	case err != nil:
		return "", err
	case h.i.KID != "" && !bytes.Equal(o.SPKI, h.i.SPKI):
		return "", fmt.Errorf("the key pair under its CKA_ID has another public key and is left alone: %w", hsm.ErrMismatch)
	}
	if begun == nil {
		if err := r.notes.write(h.i.CKAID, note{h.i.Key, h.i.Version, h.i.KID, lifecycle.Instant(r.clock().UnixMilli())}); err != nil {
			return "", err
		}
	}
	// If we die from here on, the note says that the absence of the pair is our work.
	if err := r.destroyObject(ctx, h.i.CKAID, o.SPKI); err != nil {
		return "", err
	}
	if err := r.gone(ctx, h.i.CKAID); err != nil {
		return "", err
	}
	return fmt.Sprintf("destroyed by CKA_ID %s and public key; then a look-up by id and a listing found nothing", h.i.CKAID), nil
}

func (r *Reconciler) destroyObject(ctx context.Context, id lifecycle.CKAID, spki []byte) error {
	ctx, cancel := device(ctx)
	defer cancel()
	if err := r.store.Destroy(ctx, hsm.ObjectID(id), spki); err != nil {
		return fmt.Errorf("destroy key pair: %w", err)
	}
	return nil
}

// absent judges a pair that a look-up did not find.
func (r *Reconciler) absent(ctx context.Context, h holding, begun *note) (string, error) {
	if err := r.gone(ctx, h.i.CKAID); err != nil {
		return "", err
	}
	switch {
	case begun != nil:
		return fmt.Sprintf("its destruction by CKA_ID %s was begun here at %s; after an interruption a look-up by id and a listing found nothing", h.i.CKAID, begun.BegunAt), nil
	case h.i.KID == "":
		return "never generated here: two look-ups found nothing", nil
	}
	return "", errNoEvidence
}

// gone succeeds when a look-up by id and a listing both work and find nothing.
func (r *Reconciler) gone(ctx context.Context, id lifecycle.CKAID) error {
	if _, err := r.find(ctx, id); !errors.Is(err, hsm.ErrNotFound) {
		if err == nil {
			err = errors.New("it is still found by its CKA_ID")
		}
		return fmt.Errorf("make sure that the key pair is gone: %w", err)
	}
	objects, err := r.list(ctx)
	if err != nil {
		return fmt.Errorf("make sure that the key pair is gone: %w", err)
	}
	for _, o := range objects {
		if o.ID == hsm.ObjectID(id) {
			return errors.New("make sure that the key pair is gone: the listing still has it")
		}
	}
	return nil
}

func (r *Reconciler) confirm(ctx context.Context, h holding, evidence string) error {
	err := r.reporter.Erased(ctx, command.ConfirmErased{Key: h.i.Key, Version: h.i.Version, Node: h.i.Node, Evidence: evidence})
	if err != nil {
		return fmt.Errorf("confirm the erasure: %w", err)
	}
	// The note stays until the log says "erased": the answer may have been lost on its way.
	r.sent[h.i.CKAID] = h.i.Condition
	r.log.Info("key pair erased", "key", h.i.Key, "version", h.i.Version, "cka_id", h.i.CKAID.String(), "reason", evidence)
	return nil
}
