//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
)

// half is one object of a key pair.
type half struct {
	handle pkcs11.ObjectHandle
	id     []byte
}

// halves are the objects found, by class. others counts certificates and the like
// under the same CKA_ID, which are legal company for a key pair.
type halves struct {
	private, public []half
	others          int
}

// findBatch is how many handles one C_FindObjects call asks for.
const findBatch = 256

// handles lists the objects that match a template.
func (w *worker) handles(template []*pkcs11.Attribute) (found []pkcs11.ObjectHandle, err error) {
	raw, session, err := w.raw()
	if err != nil {
		return nil, err
	}
	if err := raw.FindObjectsInit(session, template); err != nil {
		return nil, &deviceError{"look up objects", err}
	}
	for {
		batch, _, err := raw.FindObjects(session, findBatch)
		if err != nil {
			w.dropSession() // the search is still open in it
			return nil, &deviceError{"look up objects", err}
		}
		if len(batch) == 0 {
			break
		}
		found = append(found, batch...)
	}
	if err := raw.FindObjectsFinal(session); err != nil {
		w.dropSession()
		return nil, &deviceError{"look up objects", err}
	}
	return found, nil
}

// search lists the keys under an id, or all of them for nil, in one pass.
func (w *worker) search(id []byte) (halves, error) {
	var template []*pkcs11.Attribute
	if id != nil {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	}
	found, err := w.handles(template)
	if err != nil {
		return halves{}, err
	}
	var result halves
	for _, handle := range found {
		if err := w.sort(&result, handle); err != nil {
			return halves{}, err
		}
	}
	if len(found) == 0 {
		return result, w.confirmEmpty()
	}
	return result, nil
}

// sort puts one object where it belongs.
func (w *worker) sort(result *halves, handle pkcs11.ObjectHandle) error {
	class, err := w.attributes(handle, pkcs11.CKA_CLASS)
	if err != nil {
		return err
	}
	kind, ok := ulong(class[0])
	if !ok || kind != pkcs11.CKO_PRIVATE_KEY && kind != pkcs11.CKO_PUBLIC_KEY {
		result.others++
		return nil
	}
	id, err := w.attributes(handle, pkcs11.CKA_ID)
	if err != nil {
		return err
	}
	if h := (half{handle: handle, id: id[0]}); kind == pkcs11.CKO_PRIVATE_KEY {
		result.private = append(result.private, h)
	} else {
		result.public = append(result.public, h)
	}
	return nil
}

// confirmEmpty decides whether finding nothing means that nothing is there. A
// session that lost its login sees no private object, and a token whose files were
// pulled away answers every search with an empty list: both are a broken device.
func (w *worker) confirmEmpty() error {
	raw, session, err := w.raw()
	if err != nil {
		return err
	}
	info, err := raw.GetSessionInfo(session)
	if err != nil {
		return &deviceError{"confirm an empty look-up", err}
	}
	if info.State != pkcs11.CKS_RO_USER_FUNCTIONS && info.State != pkcs11.CKS_RW_USER_FUNCTIONS {
		return &deviceError{"confirm an empty look-up", fmt.Errorf("the session is not logged in (state %d), so private keys are invisible", info.State)}
	}
	t, err := raw.GetTokenInfo(w.store.conn.token.slot)
	if err != nil {
		return &deviceError{"confirm an empty look-up", err}
	}
	if t.SerialNumber != w.store.serial {
		return &deviceError{"confirm an empty look-up", fmt.Errorf("the token's serial is now %q, it was %q", t.SerialNumber, w.store.serial)}
	}
	return nil
}

// attributes reads attributes of one object; a refused one fails all.
func (w *worker) attributes(handle pkcs11.ObjectHandle, names ...uint) ([][]byte, error) {
	raw, session, err := w.raw()
	if err != nil {
		return nil, err
	}
	template := make([]*pkcs11.Attribute, len(names))
	for i, name := range names {
		template[i] = pkcs11.NewAttribute(name, nil)
	}
	got, err := raw.GetAttributeValue(session, handle, template)
	if err != nil {
		return nil, fail("read attributes", err)
	}
	values := make([][]byte, len(got))
	for i, attribute := range got {
		values[i] = attribute.Value
	}
	return values, nil
}

// located is a key pair on the token with its handles.
type located struct {
	object          hsm.Object
	private, public pkcs11.ObjectHandle
}

// locate finds exactly one key pair under an id.
func (w *worker) locate(id hsm.ObjectID) (located, error) {
	found, err := w.search(id[:])
	if err != nil {
		return located{}, fmt.Errorf("key %s: %w", id, err)
	}
	switch privates, publics := len(found.private), len(found.public); {
	case privates == 0 && publics == 0:
		w.store.disappeared(id)
		return located{}, fmt.Errorf("key %s: %w", id, hsm.ErrNotFound)
	case privates > 1 || publics > 1:
		return located{}, fmt.Errorf("key %s: %d private and %d public objects on token %s: %w", id, privates, publics, w.store.tokenName(), hsm.ErrAmbiguous)
	case publics == 0:
		return located{}, fmt.Errorf("key %s: its public object is missing, so the private one cannot be identified: %w", id, hsm.ErrMismatch)
	case privates == 0:
		w.store.disappeared(id)
		return located{public: found.public[0].handle}, fmt.Errorf("key %s: only its public object is left: %w", id, hsm.ErrNotFound)
	}
	object, err := w.describe(id, found.private[0].handle, found.public[0].handle)
	if err != nil {
		return located{}, fmt.Errorf("key %s: %w", id, err)
	}
	w.store.known.Store(id, struct{}{})
	return located{object: object, private: found.private[0].handle, public: found.public[0].handle}, nil
}

// describe reads a pair's label, public key and protection.
func (w *worker) describe(id hsm.ObjectID, private, public pkcs11.ObjectHandle) (hsm.Object, error) {
	spki, err := w.publicKey(public)
	if err != nil {
		return hsm.Object{}, err
	}
	label, err := w.attributes(private, pkcs11.CKA_LABEL)
	if err != nil {
		return hsm.Object{}, err
	}
	protection, err := w.protection(private)
	if err != nil {
		return hsm.Object{}, err
	}
	return hsm.Object{ID: id, Label: string(label[0]), SPKI: spki, Attributes: protection}, nil
}

// Find implements hsm.KeyStore.
func (s *Store) Find(ctx context.Context, id hsm.ObjectID) (object hsm.Object, err error) {
	var found hsm.Object // written by the worker, read only when the call came back
	err = s.do(ctx, false, false, func(w *worker) error {
		pair, err := w.locate(id)
		found = pair.object
		return err
	})
	if err != nil {
		return hsm.Object{}, fmt.Errorf("find: %w", err)
	}
	return found, nil
}

// Inventory implements hsm.KeyStore. A CKA_ID held by several objects is listed once
// for each, so that it shows. A private key without its public half, or of a kind
// not supported here, is listed without SPKI; a lone public object is no key pair
// and is only logged, like objects whose CKA_ID is not of 16 bytes.
func (s *Store) Inventory(ctx context.Context) ([]hsm.Object, error) {
	var objects []hsm.Object
	err := s.do(ctx, false, false, func(w *worker) (err error) {
		objects, err = w.inventory()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return objects, nil
}

func (w *worker) inventory() ([]hsm.Object, error) {
	found, err := w.search(nil)
	if err != nil {
		return nil, err
	}
	publics := map[hsm.ObjectID][]half{}
	foreign := 0
	for _, h := range found.public {
		if len(h.id) != len(hsm.ObjectID{}) {
			foreign++
			continue
		}
		publics[hsm.ObjectID(h.id)] = append(publics[hsm.ObjectID(h.id)], h)
	}
	objects := make([]hsm.Object, 0, len(found.private))
	for _, h := range found.private {
		if len(h.id) != len(hsm.ObjectID{}) {
			foreign++
			continue
		}
		id := hsm.ObjectID(h.id)
		object, err := w.pairUp(id, h, publics)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", id, err)
		}
		objects = append(objects, object)
	}
	lone := 0
	for _, rest := range publics {
		lone += len(rest)
	}
	if lone+foreign > 0 {
		w.store.log.Info("token holds objects that are none of ours", "node", w.store.cfg.NodeName, "lone_public_keys", lone, "foreign_ids", foreign)
	}
	w.store.compareKnown(objects)
	return objects, nil
}

// pairUp describes a private key with the next unused public one of its id.
func (w *worker) pairUp(id hsm.ObjectID, private half, publics map[hsm.ObjectID][]half) (hsm.Object, error) {
	label, err := w.attributes(private.handle, pkcs11.CKA_LABEL)
	if err != nil {
		return hsm.Object{}, err
	}
	object := hsm.Object{ID: id, Label: string(label[0])}
	if object.Attributes, err = w.protection(private.handle); err != nil {
		return hsm.Object{}, err
	}
	if rest := publics[id]; len(rest) > 0 {
		publics[id] = rest[1:]
		object.SPKI, err = w.publicKey(rest[0].handle)
		if err != nil && broken(err) {
			return hsm.Object{}, err
		} // else: a kind of key that is not ours; its SPKI stays empty
	}
	return object, nil
}

// compareKnown notices keys that an inventory no longer shows, and learns new ones.
func (s *Store) compareKnown(objects []hsm.Object) {
	listed := make(map[hsm.ObjectID]bool, len(objects))
	for _, o := range objects {
		listed[o.ID] = true
	}
	s.known.Range(func(id, _ any) bool {
		if !listed[id.(hsm.ObjectID)] {
			s.disappeared(id.(hsm.ObjectID))
		}
		return true
	})
	for id := range listed {
		s.known.Store(id, struct{}{})
	}
}

// recheckKnown lists the token after a recovery. The caller holds the gate
// exclusively, so the admin worker is outside of it.
func (s *Store) recheckKnown() error {
	w := &worker{store: s}
	defer w.dropSession()
	found, err := w.search(nil)
	if err != nil {
		return fmt.Errorf("look for the keys after a recovery: %w", err)
	}
	listed := map[string]bool{}
	for _, h := range found.private {
		listed[string(h.id)] = true
	}
	s.known.Range(func(key, _ any) bool {
		if id := key.(hsm.ObjectID); !listed[string(id[:])] {
			s.disappeared(id)
		}
		return true
	})
	return nil
}

// isAbsent is true only for a look-up that worked.
func isAbsent(err error) bool { return errors.Is(err, hsm.ErrNotFound) && !broken(err) }
