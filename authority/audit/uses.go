package audit

import "time"

// Use counts what the journal says of one key pair since it was opened, up to a line.
// Intents - Released - Refused are uses of which no outcome is on the disk: they are
// under way, or what became of them was lost with a crash, and may have been released.
type Use struct {
	Key      string
	Version  uint64
	KID      string
	Intents  uint64
	Released uint64
	Refused  uint64
	LastAt   time.Time // of the newest intent
}

// Open is the number of uses without an outcome.
func (u *Use) Open() uint64 { return u.Intents - u.Released - u.Refused }

// use is what the committer needs of a record to count it.
type use struct {
	kind    Kind
	key     string
	version uint64
	kid     string
	at      time.Time
}

// countable reports whether the record is about a use of a key pair. A request that was
// refused before names no key pair.
func (r *Record) countable() bool {
	if r.KID == "" {
		return false
	}
	return r.Kind == SignIntent || r.Kind == SignReleased || r.Kind == SignRefused
}

// count adds what a batch says, once it is on the disk. The caller holds j.mu.
func (j *Journal) count(batch []*waiter) {
	for _, w := range batch {
		for i := range w.uses {
			n := &w.uses[i]
			u := j.uses[n.kid]
			if u == nil {
				u = &Use{Key: n.key, Version: n.version, KID: n.kid}
				j.uses[n.kid] = u
			}
			switch n.kind {
			case SignIntent:
				u.Intents++
				u.LastAt = n.at
			case SignReleased:
				u.Released++
			case SignRefused:
				u.Refused++
			}
		}
	}
}

// Uses counts, for every key pair that was used since the journal was opened, what the
// lines after since and up to head say. All three are of the same instant: whatever
// key was used before the call began, its intent is in the counts.
func (j *Journal) Uses() (since, head Head, counts []Use) {
	j.mu.Lock()
	defer j.mu.Unlock()
	counts = make([]Use, 0, len(j.uses))
	for _, u := range j.uses {
		counts = append(counts, *u)
	}
	return j.opened, Head{Seq: j.headSeq, Hash: string(j.headHash[:])}, counts
}

// UseOf counts one key pair since the journal was opened.
func (j *Journal) UseOf(kid string) Use {
	j.mu.Lock()
	defer j.mu.Unlock()
	if u := j.uses[kid]; u != nil {
		return *u
	}
	return Use{KID: kid}
}

// Oldest is the first record that the journal has, and when its segment was begun: 1
// unless older segments were moved away. 0 means that nothing is recorded yet.
func (j *Journal) Oldest() (seq uint64, begunAt time.Time, err error) {
	list, err := listSegments(j.dir)
	if err != nil || len(list) == 0 {
		return 0, time.Time{}, err
	}
	h, err := firstLine(j.dir, list[0])
	return h.firstSeq, h.at, err
}
