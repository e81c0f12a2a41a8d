// Package pki decides what a certificate says before it is signed: which names a
// requester may have, which keys are fit to be certified, what a profile makes of both,
// and whether a verifier would accept the result.
//
// Threat model: certificate requests come from anybody who may issue, and every byte of
// one is hostile. Of a request only the public key and the names count, after checks;
// its other extensions are ignored. The bytes that an HSM will sign are made here, once,
// and are signed with a key that is thrown away first: what no verifier would accept
// never reaches the HSM, and an HSM signs nothing that nobody looked at.
//
// Everything here is a function of its arguments but for the throwaway keys, which are
// made once per algorithm. Concurrency: everything may be called from anywhere.
package pki
