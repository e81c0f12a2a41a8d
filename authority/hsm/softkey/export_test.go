package softkey

import "github.com/chancery-project/chancery/authority/hsm"

// Hold occupies every slot, so that no signature finishes until release.
func Hold(ks hsm.KeyStore) (release func()) {
	s := ks.(*Store)
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	return func() {
		for range cap(s.slots) {
			<-s.slots
		}
	}
}
