//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
)

// Destroy implements hsm.KeyStore. After ErrUnavailable the pair may be gone, half
// gone or untouched; calling again goes on where it stopped.
func (s *Store) Destroy(ctx context.Context, id hsm.ObjectID, spki []byte) error {
	spki = bytes.Clone(spki)
	err := s.do(ctx, true, true, func(w *worker) error { return w.destroy(id, spki) })
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	return nil
}

func (w *worker) destroy(id hsm.ObjectID, spki []byte) error {
	pair, err := w.locate(id)
	switch {
	case err == nil && !bytes.Equal(pair.object.SPKI, spki):
		return fmt.Errorf("key %s: %w", id, hsm.ErrMismatch)
	case err == nil:
		// The private half goes first: if we die in between, what is left is public
		// and still identifies the pair. The other way round it could not be told
		// which key the private object is.
		if err := w.remove(pair.private); err != nil {
			return fmt.Errorf("key %s: %w", id, err)
		}
	case isAbsent(err) && pair.public != 0:
		// An earlier call died between the halves, if the public one is the key's.
		left, leftErr := w.publicKey(pair.public)
		if leftErr != nil || !bytes.Equal(left, spki) {
			return err
		}
	default:
		return err
	}
	// From here on the key cannot sign. It is no longer ours to miss.
	w.store.known.Delete(id)
	w.store.conn.keys.Delete(id)
	if err := w.remove(pair.public); err != nil {
		return fmt.Errorf("key %s: %w", id, err)
	}
	return w.confirmGone(id)
}

func (w *worker) remove(handle pkcs11.ObjectHandle) error {
	raw, session, err := w.raw()
	if err != nil {
		return err
	}
	if err := raw.DestroyObject(session, handle); err != nil {
		return fail("destroy object", err)
	}
	return nil
}

// confirmGone looks twice, by id and by listing everything, because some tokens
// index the two differently.
func (w *worker) confirmGone(id hsm.ObjectID) error {
	byID, err := w.search(id[:])
	if err != nil {
		return fmt.Errorf("key %s: confirm destruction: %w", id, err)
	}
	all, err := w.search(nil)
	if err != nil {
		return fmt.Errorf("key %s: confirm destruction: %w", id, err)
	}
	same := func(h half) bool { return bytes.Equal(h.id, id[:]) }
	if len(byID.private)+len(byID.public) > 0 || slices.ContainsFunc(all.private, same) || slices.ContainsFunc(all.public, same) {
		return fmt.Errorf("key %s: the token confirmed the destruction and still shows the object: %w", id, hsm.ErrUnavailable)
	}
	return nil
}
