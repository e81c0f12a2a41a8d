package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestReserveOfADirectory is the real thing, with the real file system.
func TestReserveOfADirectory(t *testing.T) {
	d := mustOpen(t, filepath.Join(t.TempDir(), "data"), Options{BootID: boot("a")})
	r := d.OpenReserve()
	if _, err := r.Tend(); err != nil {
		t.Fatal(err)
	}
	if r.Full() {
		t.Fatal("the disk under the temporary directory is too full for a reserve: make room, or set TMPDIR")
	}
	info, err := os.Stat(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if blocks := info.Sys().(*syscall.Stat_t).Blocks; blocks*512 < info.Size() {
		t.Errorf("%d bytes of a reserve of %d are really held", blocks*512, info.Size())
	}
}
