package store

import (
	"container/heap"
	"sync"
)

// maxWatched bounds the indexes that have a channel of their own. Nobody says when
// he stops waiting, so an index that is never reached would stay for ever.
const maxWatched = 4096

// watch wakes those who wait for an index. Everyone who waits for the same index
// shares one channel, and a publication touches only channels it closes.
type watch struct {
	mu    sync.Mutex
	index uint64
	next  chan struct{} // closed at the next publication; nil while nobody waits
	far   map[uint64]chan struct{}
	order indexHeap // keys of far
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (w *watch) changed(index uint64) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index > index {
		return closed
	}
	if c := w.far[index]; c != nil {
		return c
	}
	if index == w.index || len(w.far) >= maxWatched {
		if w.next == nil {
			w.next = make(chan struct{})
		}
		return w.next
	}
	if w.far == nil {
		w.far = make(map[uint64]chan struct{})
	}
	c := make(chan struct{})
	w.far[index] = c
	heap.Push(&w.order, index)
	return c
}

func (w *watch) publish(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index = index
	if w.next != nil {
		close(w.next)
		w.next = nil
	}
	for len(w.order) > 0 && w.order[0] < index {
		i := heap.Pop(&w.order).(uint64)
		close(w.far[i])
		delete(w.far, i)
	}
}

// indexHeap has the smallest index first.
type indexHeap []uint64

func (h indexHeap) Len() int           { return len(h) }
func (h indexHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h indexHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *indexHeap) Push(x any)        { *h = append(*h, x.(uint64)) }
func (h *indexHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
