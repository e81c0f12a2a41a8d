package crl

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Shards is how many shards an issuer's list has that wants them. It is fixed: the shard
// of a certificate stands in the certificate.
const Shards = 16

// ShardOf is the shard of a certificate, counted from 1. The last octet of a serial is
// random, so they are about equally long.
func ShardOf(s lifecycle.Serial) uint64 { return uint64(s[len(s)-1]%Shards) + 1 }
