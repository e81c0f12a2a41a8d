package crl

import (
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Shards is how many shards an issuer's list has that wants them. It is fixed: the shard
// of a certificate stands in the certificate.
const Shards = 16

// ShardOf is the shard of a certificate, counted from 1. The last octet of a serial is
// random, so they are about equally long.
func ShardOf(s lifecycle.Serial) uint64 { return uint64(s[len(s)-1]%Shards) + 1 }

// Path is where a list is served below a node's public URL; shard 0 is the full one.
func Path(issuer lifecycle.KeyID, kid string, shard uint64) string {
	return "/crl/" + string(issuer) + "/" + place{kid, shard}.file()
}

// ParseFile reads the last element of a Path.
func ParseFile(name string) (kid string, shard uint64, ok bool) {
	kid, ok = strings.CutSuffix(name, suffix)
	if short, number, sharded := strings.Cut(kid, "."); ok && sharded {
		n, err := strconv.ParseUint(number, 10, 64)
		return short, n, err == nil && n >= 1 && n <= Shards
	}
	return kid, 0, ok
}

// ShardURL is what stands in a shard and in the certificates on it; "" when the cluster
// has no base URL.
func ShardURL(v *state.View, ca *lifecycle.CACert, shard uint64) string {
	row := v.Cluster()
	if row == nil || row.Settings.PublicURL == "" {
		return ""
	}
	return strings.TrimSuffix(row.Settings.PublicURL, "/") + Path(ca.Issuer, ca.KID, shard)
}
