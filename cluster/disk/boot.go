package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// marker is what the file "boot" says about the last process that held the
// directory. A process that dies alone loses nothing that it wrote, because the
// page cache outlives it; a machine that dies loses whatever was not synced. The
// kernel's boot id tells the two apart.
type marker struct {
	Boot    string // kernel boot id under which the directory was last opened
	Open    bool   // no clean close since
	Suspect bool   // the unsynced stores must be rebuilt before they are used
}

func (m marker) encode() []byte {
	state, trust := "closed", "sound"
	if m.Open {
		state = "open"
	}
	if m.Suspect {
		trust = "suspect"
	}
	return fmt.Appendf(nil, "%s %s %s\n", m.Boot, state, trust)
}

func decodeMarker(raw []byte) (m marker, ok bool) {
	line, ok := strings.CutSuffix(string(raw), "\n")
	f := strings.Split(line, " ")
	if !ok || len(f) != 3 || f[0] == "" {
		return marker{}, false
	}
	m = marker{Boot: f[0], Open: f[1] == "open", Suspect: f[2] == "suspect"}
	return m, string(m.encode()) == string(raw)
}

// enter decides whether the stores can be trusted and marks the directory open.
//
// Suspicion is written down before anything else happens, and only Rebuilt clears
// it: a node that dies in the middle of its rebuild, under the new boot id, must
// not find a half-built file beside a marker that says all is well.
func (d *Dir) enter(boot string, fresh bool) error {
	boot = strings.TrimSpace(boot)
	if boot == "" || strings.ContainsAny(boot, " \n") {
		return fmt.Errorf("kernel boot id %q is not one word", boot)
	}
	raw, err := os.ReadFile(d.path("boot"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read boot marker: %w", err)
	}
	// A lost or unreadable marker is no proof of a clean close.
	last, ok := decodeMarker(raw)
	suspect := !ok && !fresh || last.Suspect || last.Open && last.Boot != boot

	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writeMarker(marker{Boot: boot, Open: true, Suspect: suspect})
}

// writeMarker runs under d.mu.
func (d *Dir) writeMarker(m marker) error {
	if err := d.write("boot", m.encode()); err != nil {
		return err
	}
	d.marker = m
	return nil
}

// Unclean reports whether the machine stopped while the directory was open, so
// that files which are not synced on every write (the state file) must be rebuilt
// from snapshot and log. It stays true, over restarts, until Rebuilt.
func (d *Dir) Unclean() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.marker.Suspect
}

// Rebuilt notes durably that the stores were rebuilt and synced.
func (d *Dir) Rebuilt() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.marker
	m.Suspect = false
	return d.writeMarker(m)
}
