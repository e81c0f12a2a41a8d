// Package tree is an ordered map from text to values that keeps its past: a tree
// forked from another shares all nodes with it, and copies those that it changes.
//
// It is a B+ tree. Values stand in the leaves in key order, and slices are as long as
// what is in them, so a value costs its key, itself and a few bytes of its leaf.
//
// Concurrency: nothing here locks. Any number of goroutines may read a tree, and fork
// it, as long as nobody writes to it. A fork belongs to whoever made it.
package tree

import "strings"

// most entries of a node. Small nodes make a write cheap, which copies one on each
// level; large ones make a tree lower.
const most = 16

// joined is how many entries two neighbours may have together to become one: few
// enough that what was joined is not split by the next write.
const joined = most * 3 / 4

// Tree is a value; the zero one is empty. Once a tree was forked, or its value copied,
// it must not be written to again.
type Tree[V any] struct {
	root *node[V]
	len  int
	gen  uint64 // of the nodes that belong to this tree alone; none has a greater one
}

type node[V any] struct {
	gen   uint64
	items []item[V] // of a leaf, in key order
	kids  []kid[V]  // of another node, in key order
}

type item[V any] struct {
	key   string
	value V
}

// kid is a node with a bound: low is not above any key in it, and above every key of
// the kids before.
type kid[V any] struct {
	low  string
	node *node[V]
}

// Fork is a tree of the same values, to be written to: t stays as it is.
func (t Tree[V]) Fork() Tree[V] {
	t.gen++
	return t
}

// Len is the number of values.
func (t Tree[V]) Len() int { return t.len }

// Get finds the value of a key.
func (t Tree[V]) Get(key string) (value V, ok bool) {
	n := t.root
	if n == nil {
		return value, false
	}
	for n.kids != nil {
		n = n.kids[n.way(key)].node
	}
	i, ok := n.find(key)
	if !ok {
		return value, false
	}
	return n.items[i].value, true
}

// Ascend calls fn for the keys from one on, in order, until fn returns false. It must
// not write to the tree.
func (t Tree[V]) Ascend(from string, fn func(key string, value V) bool) {
	if t.root != nil {
		t.root.ascend(from, fn)
	}
}

// AscendPrefix calls fn for the keys that begin with prefix, likewise.
func (t Tree[V]) AscendPrefix(prefix string, fn func(key string, value V) bool) {
	t.Ascend(prefix, func(key string, value V) bool { return strings.HasPrefix(key, prefix) && fn(key, value) })
}

func (n *node[V]) ascend(from string, fn func(string, V) bool) bool {
	if n.kids == nil {
		i, _ := n.find(from)
		for ; i < len(n.items); i++ {
			if !fn(n.items[i].key, n.items[i].value) {
				return false
			}
		}
		return true
	}
	for i := n.way(from); i < len(n.kids); i++ {
		if !n.kids[i].node.ascend(from, fn) {
			return false
		}
		from = "" // everything in the kids after is above it
	}
	return true
}

// find is where a leaf has the key, or where it would stand.
func (n *node[V]) find(key string) (int, bool) {
	lo, hi := 0, len(n.items)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch c := strings.Compare(n.items[mid].key, key); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// way is the kid that has the key if any has.
func (n *node[V]) way(key string) int {
	lo, hi := 1, len(n.kids)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); n.kids[mid].low <= key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}
