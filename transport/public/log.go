package public

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

var (
	textType   = []string{"text/plain; charset=utf-8"}
	binaryType = []string{wire.TypeBinary}
	forEver    = []string{"public, max-age=31536000, immutable"}
)

// checkpoint serves the tree head as the body of a C2SP checkpoint: origin, size and
// root, then where in the cluster's history it stands. It is not signed yet.
func (c *call) checkpoint() error {
	snap, _, err := c.readAny()
	if err != nil {
		return err
	}
	row := snap.Cluster()
	if row == nil {
		return wire.Errorf(wire.NotInitialised, "the cluster has no genesis yet")
	}
	p := snap.Position()
	h := c.w.Header()
	c.stamper.Snapshot(h, snap)
	h["Cache-Control"] = noStore
	c.body(textType, checkpointText(row.ID, p))
	return nil
}

func checkpointText(cluster string, p state.Position) []byte {
	return fmt.Appendf(nil, "chancery/%s/log\n%d\n%s\nposition %d %d\n", cluster, p.LogSize, base64.StdEncoding.EncodeToString(p.LogRoot[:]), p.Epoch, p.Index)
}

// tileHeight of C2SP tlog-tiles: 256 hashes in a tile.
const tileHeight = 8

// tile serves hashes, <level>/<index>[.p/<width>]. A tile never changes once it
// exists, partial ones included, because leaves are never changed.
func (c *call) tile() error {
	path := c.r.PathValue("tile")
	if strings.HasPrefix(path, "entries/") {
		return wire.Errorf(wire.Denied, "entries of the log need an auditor, on the API listener").WithHint("chancery log dump")
	}
	t, err := tlog.ParseTilePath(fmt.Sprintf("tile/%d/%s", tileHeight, path))
	if err != nil || t.L < 0 || t.H != tileHeight {
		return wire.Errorf(wire.NotFound, "there is no tile %.60q: write it like 0/x001/234 or 0/005.p/17", path)
	}
	v := c.Ledger.View()
	if !inside(t, v.Position().LogSize) {
		return wire.Errorf(wire.NotFound, "the log is not that long yet: it has %d entries", v.Position().LogSize)
	}
	b, err := tlog.ReadTileData(t, v.Hashes())
	if err != nil {
		return fmt.Errorf("read tile %s: %w", path, err)
	}
	h := c.w.Header()
	c.stamper.View(h, v.Position())
	h["Cache-Control"] = forEver
	c.body(binaryType, b)
	return nil
}

// inside reports whether every hash of the tile is of a complete subtree of a log
// of the given size.
func inside(t tlog.Tile, size uint64) bool {
	shift := uint(t.L) * tileHeight
	if shift >= 64 {
		return false
	}
	complete := size >> shift // nodes at the tile's lowest level
	first := uint64(t.N) << tileHeight
	return t.N>>(63-tileHeight) == 0 && first+uint64(t.W) <= complete
}
