package tree

// Put sets the value of a key, and returns the one before. The tree keeps the key as
// given, in place of one that it had.
func (t *Tree[V]) Put(key string, value V) (old V, existed bool) {
	if t.root == nil {
		t.root = &node[V]{gen: t.gen}
	}
	p := put[V]{gen: t.gen, item: item[V]{key, value}}
	root, right := p.into(t.root)
	if right != nil {
		root = &node[V]{gen: t.gen, kids: []kid[V]{{root.low(), root}, {right.low(), right}}}
	}
	t.root = root
	if !p.existed {
		t.len++
	}
	return p.old, p.existed
}

// put is one Put on its way down.
type put[V any] struct {
	gen     uint64
	item    item[V]
	old     V
	existed bool
}

// into puts the item below a node. It returns what stands in the node's place, and
// what follows it if that is two nodes now.
func (p *put[V]) into(n *node[V]) (self, right *node[V]) {
	if n.kids == nil {
		return p.intoLeaf(n)
	}
	i := n.way(p.item.key)
	below, next := p.into(n.kids[i].node)
	n = n.own(p.gen)
	n.kids[i].node = below
	n.kids[i].low = min(n.kids[i].low, p.item.key)
	if next == nil {
		return n, nil
	}
	n.kids = inserted(n.kids, i+1, kid[V]{next.low(), next})
	if len(n.kids) <= most {
		return n, nil
	}
	left, rest := parted(n.kids, i+1)
	n.kids = left
	return n, &node[V]{gen: p.gen, kids: rest}
}

func (p *put[V]) intoLeaf(n *node[V]) (self, right *node[V]) {
	i, found := n.find(p.item.key)
	if found {
		n = n.own(p.gen)
		p.old, p.existed = n.items[i].value, true
		n.items[i] = p.item
		return n, nil
	}
	items := inserted(n.items, i, p.item)
	if n.gen != p.gen {
		n = &node[V]{gen: p.gen}
	}
	n.items = items
	if len(items) <= most {
		return n, nil
	}
	left, rest := parted(items, i)
	n.items = left
	return n, &node[V]{gen: p.gen, items: rest}
}

// Delete takes a key out, and returns its value.
func (t *Tree[V]) Delete(key string) (old V, existed bool) {
	if old, existed = t.Get(key); !existed {
		return old, false
	}
	t.len--
	t.root = t.root.without(key, t.gen)
	for t.root != nil && len(t.root.kids) == 1 {
		t.root = t.root.kids[0].node
	}
	return old, true
}

// without is the node without a key that it has, nil when nothing is left.
func (n *node[V]) without(key string, gen uint64) *node[V] {
	if n.kids == nil {
		if len(n.items) == 1 {
			return nil
		}
		i, _ := n.find(key)
		return &node[V]{gen: gen, items: removed(n.items, i)}
	}
	i := n.way(key)
	below := n.kids[i].node.without(key, gen)
	if below == nil {
		if len(n.kids) == 1 {
			return nil
		}
		return &node[V]{gen: gen, kids: removed(n.kids, i)}
	}
	n = n.own(gen)
	n.kids[i].node = below
	n.join(i, gen)
	n.join(i-1, gen)
	return n
}

// join makes one of the kid and the next, if there are both and they are small.
func (n *node[V]) join(i int, gen uint64) {
	if i < 0 || i+1 >= len(n.kids) {
		return
	}
	a, b := n.kids[i].node, n.kids[i+1].node
	if a.size()+b.size() > joined {
		return
	}
	one := &node[V]{gen: gen}
	if a.kids == nil {
		one.items = append(append(make([]item[V], 0, a.size()+b.size()), a.items...), b.items...)
	} else {
		one.kids = append(append(make([]kid[V], 0, a.size()+b.size()), a.kids...), b.kids...)
	}
	n.kids = removed(n.kids, i+1)
	n.kids[i].node = one
}

func (n *node[V]) size() int { return len(n.items) + len(n.kids) }

// low bounds the keys of the node.
func (n *node[V]) low() string {
	if n.kids == nil {
		return n.items[0].key
	}
	return n.kids[0].low
}

// own is the node if it belongs to the generation, or else a copy that does.
func (n *node[V]) own(gen uint64) *node[V] {
	if n.gen == gen {
		return n
	}
	return &node[V]{gen: gen, items: copied(n.items), kids: copied(n.kids)}
}

// The slices of nodes are as long as they must be: most nodes are never written again.

func copied[E any](s []E) []E {
	if s == nil {
		return nil
	}
	return append(make([]E, 0, len(s)), s...)
}

func inserted[E any](s []E, at int, e E) []E {
	return append(append(append(make([]E, 0, len(s)+1), s[:at]...), e), s[at:]...)
}

func removed[E any](s []E, at int) []E {
	return append(append(make([]E, 0, len(s)-1), s[:at]...), s[at+1:]...)
}

// parted makes two of a slice that became too long at a place. What grows at its end
// is likely to go on there, and leaves full nodes behind.
func parted[E any](s []E, grew int) (left, right []E) {
	at := len(s) / 2
	if grew == len(s)-1 {
		at = grew
	}
	return copied(s[:at]), copied(s[at:])
}
