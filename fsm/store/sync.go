package store

import (
	"fmt"
	"time"
)

// Sync makes what was committed durable. It does not hold the writer off.
func (s *Store) Sync() error {
	if !s.dirty.Swap(false) {
		return nil
	}
	gen, err := s.acquire()
	if err != nil {
		return err
	}
	defer gen.release()
	err = s.step("sync")
	if err == nil {
		err = gen.db.Sync()
	}
	if err != nil {
		// Never tried again: after a failed fsync the kernel may have dropped the
		// pages, and a second one would succeed over the hole.
		return fmt.Errorf("sync state file: %w: %w", ErrStorage, err)
	}
	return nil
}

func (s *Store) syncLoop() {
	defer close(s.syncDone)
	tick := time.NewTicker(s.opts.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stopSync:
			return
		case <-tick.C:
			if err := s.Sync(); err != nil {
				s.opts.Fatal(err)
				return
			}
		}
	}
}

// step is a place where tests stop the world.
func (s *Store) step(name string) error {
	if s.opts.crash == nil {
		return nil
	}
	return s.opts.crash(name)
}
