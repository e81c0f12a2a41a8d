//go:build !chancery_faults || !linux

package daemon

import "github.com/chancery-project/chancery/authority/hsm"

// breakable is the key store as it is: only the laboratory's build can break it.
func breakable(s hsm.KeyStore) hsm.KeyStore { return s }
