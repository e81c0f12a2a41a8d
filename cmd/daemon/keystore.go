package daemon

import (
	"context"
	"errors"
	"log/slog"

	"github.com/chancery-project/chancery/authority/hsm"
	_ "github.com/chancery-project/chancery/authority/hsm/softkey" // registers the driver
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/cluster/identity"
)

// noCluster stands for the id of the cluster where a directory belongs to none. Ids are
// hexadecimal, so that what is sealed under it, were anything, would open nowhere.
const noCluster = "no cluster yet"

// OpenKeyStore opens the key store of a node that does not run. A directory that
// belongs to no cluster yet can be checked too: nothing is sealed by that.
func OpenKeyStore(ctx context.Context, c Config, log *slog.Logger) (hsm.KeyStore, error) {
	dir, err := disk.Open(c.DataDir, disk.Options{})
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir, store: identity.NewStore(dir.Identity())}
	id := noCluster
	if err := p.load(c); err == nil {
		id = p.member.ClusterID
	} else if !errors.Is(err, errNotMember) {
		return nil, errors.Join(err, dir.Close())
	}
	ks, err := hsm.Open(ctx, c.keyStoreConfig(dir.Keys(), id), log)
	return ks, errors.Join(err, dir.Close())
}
