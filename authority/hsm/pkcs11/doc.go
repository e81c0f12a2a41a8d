// Package pkcs11 is the HSM driver: one token of a PKCS#11 module, through crypto11
// where it can and raw Cryptoki calls where it cannot (Ed25519, inventory, attribute
// read-back, deletion). Without cgo, or with the tag nopkcs11, the package is empty
// and hsm.Open says that the driver is not in this build.
//
// Threat model: the token keeps the private keys; this package keeps the token from
// being misused by accident. It never signs an input of the wrong length, never
// trusts a look-up made while logged out, never retries a refused PIN, never goes on
// with a handle from before a recovery, and never deletes what does not match by
// CKA_ID and public key. It does not trust a signature by a key it has not yet seen
// sign correctly since the last (re)connection.
//
// Concurrency: a PKCS#11 library is process-wide state, so the owner of everything
// is the module (one per library path). Its gate is taken shared by calls that sign
// or look up, exclusively by those that generate, destroy, connect, recover or
// close: SoftHSM fails a few calls in a thousand when these overlap. conn, the
// workers' sessions and the key cache may be touched only inside the gate.
//
// A call inside the library cannot be cancelled. Each runs on a worker goroutine, so
// that the caller can leave at its deadline; the worker stays occupied, and when all
// of them have been inside for AbandonAfter the process exits.
package pkcs11
