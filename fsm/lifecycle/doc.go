// Package lifecycle is the vocabulary of Chancery: keys, versions, instances and
// the one table of legal transitions between their states.
//
// Everything here is a pure value. The package reads no clock, draws no random
// number and does no I/O, because the replicated state machine is built from it
// and must compute the same answer on every node, in every year. Names follow
// SP 800-57 Part 1 Rev. 5 section 7 (states), RFC 5280 section 5.3.1 (reasons),
// RFC 7638 (kid) and PKCS#11 (CKA_ID).
package lifecycle
