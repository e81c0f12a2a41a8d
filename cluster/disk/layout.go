package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// Layout is the version of the directory layout this binary reads and writes.
// Raise it when an older binary would misread what a newer one has written.
const Layout = 1

const layoutMagic = "chancery-data "

func (d *Dir) checkLayout(fresh bool) error {
	raw, err := os.ReadFile(d.path("layout"))
	switch {
	case errors.Is(err, fs.ErrNotExist) && fresh:
		return d.write("layout", []byte(layoutMagic+strconv.Itoa(Layout)+"\n"))
	case err != nil:
		return fmt.Errorf("read layout: %w", err)
	}
	rest, ok := bytes.CutPrefix(raw, []byte(layoutMagic))
	version, err := strconv.ParseUint(string(bytes.TrimSuffix(rest, []byte("\n"))), 10, 32)
	if !ok || err != nil || version == 0 {
		return fmt.Errorf("read %s: %w: it does not say which layout this is; restore the file or rebuild the node in an empty directory", d.path("layout"), ErrDamaged)
	}
	if version > Layout {
		return fmt.Errorf("open %s: %w: it is layout %d and this binary knows %d; run the newer chancery, nothing was changed", d.root, ErrNewerLayout, version, Layout)
	}
	return nil
}
