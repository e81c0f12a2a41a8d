package daemon

// ballastBytes are allocated and never touched: they take address space and no
// memory. The garbage collector runs when the heap has doubled, and a node's live
// heap is a few MiB, so without the ballast it would run many times a second under
// load; with it, garbage of about this size is let lie.
const ballastBytes = 32 << 20
