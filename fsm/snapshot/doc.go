// Package snapshot is the container in which a whole state travels: to disk, to a
// node that fell behind, to a person who inspects it.
//
//	offset size
//	0      8    magic "CHCYSNAP"
//	8      2    container version, 1, big endian like every number here
//	10     4    header length
//	14     -    header: CBOR in deterministic form
//	-      32   SHA-256 of everything before it
//	            then for each table that has rows, in the order of state.Tables:
//	-      1+1  'T', length of the name; the name
//	            then for each row, in key order:
//	-      1+8  'R', key length (4), row length (4); key; row
//	-      1+8  'E', number of rows of the table
//	-      1    'Z'
//	-      32   SHA-256 of everything before it; nothing may follow
//
// Equal positions give equal bytes on every node: there is no time, no node and no
// file in it, and empty tables are left out, so that a binary which knows more
// tables writes the same.
//
// Threat model: a snapshot may be cut short, bit-flipped, forged without the means
// to forge its rows' hashes, or simply be of another cluster. A Reader recomputes
// the set hash and the log tree from the rows and accepts only what agrees with the
// header, the meta row and the trailer. Rows are handed out before the trailer was
// seen, so they go to a place that is thrown away when Rows fails. Memory is bounded
// by one row, whatever the lengths say.
//
// Readers and writers belong to one goroutine.
package snapshot
