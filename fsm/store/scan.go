package store

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"

	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/fsm/state"
)

// Scan reads the whole file in one transaction, beside the writer, and compares it
// with what the state says of itself: digest and log root recomputed from the rows,
// and every hot row in memory with its bytes on disk. It returns the position it
// looked at. The error is *Altered, ErrClosed or that of ctx.
func (s *Store) Scan(ctx context.Context) (at state.Position, err error) {
	p, err := s.pin()
	if err != nil {
		return at, err
	}
	defer p.release()
	return p.root.Meta.Position(), p.sound(ctx)
}

// sound is scan with what a damaged page does to bbolt turned into an error.
func (p *pinned) sound(ctx context.Context) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil { // an assertion of bbolt, or a page past the end of the file
			err = altered(p.root.Meta.Index, fmt.Errorf("%w: %v", ErrDamaged, r))
		}
	}()
	return p.scan(ctx)
}

func (p *pinned) scan(ctx context.Context) error {
	index := p.root.Meta.Index
	check, r, hot := snapshot.NewChecker(), newWalk(p.tx), 0
	for _, t := range state.Tables {
		var err error
		r.Ascend(t, "", func(key string, row []byte) bool {
			if err = ctx.Err(); err != nil {
				return false
			}
			if err = check.Row(t, key, row); err != nil {
				err = altered(index, err)
				return false
			}
			if t.Hot() {
				hot++
				if !bytes.Equal(p.root.Row(t, key), row) {
					err = &Altered{Index: index, What: "hot rows", Err: fmt.Errorf("row %s/%q on disk is not the one in memory", t, key)}
				}
			}
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	meta, err := check.Finish()
	switch {
	case err != nil:
		return altered(index, err)
	case hot != p.root.Len():
		return &Altered{Index: index, What: "hot rows", Err: fmt.Errorf("%d rows on disk, %d in memory", hot, p.root.Len())}
	case meta.Position() != p.root.Meta.Position() || meta.Digest() != p.root.Meta.Digest():
		return &Altered{Index: index, What: "position", Err: fmt.Errorf("the file is at entry %d, the memory at %d", meta.Index, index)}
	}
	return nil
}
