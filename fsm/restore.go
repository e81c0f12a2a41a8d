package fsm

import (
	"errors"
	"io"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/store"
)

// Restore takes in a snapshot that the leader sent. One that is not ahead of the
// state changes nothing: the entries after it come again and are passed over.
func (f *FSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	if err := f.Err(); err != nil {
		return err
	}
	h, replaced, err := f.store.Restore(r)
	if err != nil {
		var d *state.Divergence
		if errors.As(err, &d) || errors.Is(err, store.ErrStorage) {
			f.halt(err)
		}
		return err
	}
	f.seen.Store(h.Index)
	if replaced {
		f.log.Info("state restored from a snapshot", "index", h.Index, "epoch", h.Epoch)
	} else {
		f.log.Info("snapshot passed over: the state is ahead of it", "index", h.Index, "state_index", f.store.Position().Index)
	}
	return nil
}
