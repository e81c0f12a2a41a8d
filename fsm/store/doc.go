// Package store keeps the replicated state in a bbolt file, one bucket per table,
// and publishes Views of it.
//
// Durability. The Raft log is the durable copy of everything in here. A batch of
// entries is one transaction, written to the page cache but not synced: it outlives
// the process, and after a stop of the machine the file is thrown away and made
// again from snapshot and log (Options.Unclean). A background loop syncs every few
// seconds, so that a failing disk is noticed early; a clean Close syncs too.
//
// Concurrency. One goroutine at a time writes (ApplyBatch, Restore); a mutex makes
// sure of it. Readers take no lock: hot rows, position and file generation are
// published together by one atomic pointer, after the transaction has committed.
// Reads of cold tables hold a reference on the file's generation while they run. A
// restore puts another file in place under a new generation at once; the old file
// is closed by the last reader that leaves it. The map of the file is made so large
// that growing it never waits for a reader.
//
// Failure. Corruption, divergence and a file that cannot be written end the Store:
// the batch leaves no trace and every later call returns the same error. The caller
// stops the process.
package store
