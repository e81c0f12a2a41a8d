//go:build cgo && !nopkcs11

package pkcs11

import (
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// mechanismTable is what the token says it can do. Immutable.
type mechanismTable struct {
	order []uint
	info  map[uint]pkcs11.MechanismInfo
}

func readMechanisms(raw *pkcs11.Ctx, slot uint) (*mechanismTable, error) {
	list, err := raw.GetMechanismList(slot)
	if err != nil {
		return nil, fail("list mechanisms", err)
	}
	table := &mechanismTable{info: make(map[uint]pkcs11.MechanismInfo, len(list))}
	for _, m := range list {
		info, err := raw.GetMechanismInfo(slot, []*pkcs11.Mechanism{m})
		if err != nil {
			return nil, fail("read mechanism", err)
		}
		table.order = append(table.order, m.Mechanism)
		table.info[m.Mechanism] = info
	}
	return table, nil
}

// needs are the two mechanisms of an algorithm: to generate and to sign.
var needs = map[lifecycle.Algorithm][2]uint{
	lifecycle.ES256: {pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDSA},
	lifecycle.ES384: {pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDSA},
	lifecycle.EdDSA: {ckmEdwardsKeyPairGen, ckmEdDSA},
	lifecycle.RS256: {pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS},
	lifecycle.PS256: {pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS_PSS},
}

// check tells whether the token offers an algorithm at a size. Only RSA sizes are
// compared: tokens disagree on the unit for curves.
func (t *mechanismTable) check(alg lifecycle.Algorithm, bits int) error {
	for _, mechanism := range needs[alg] {
		info, ok := t.info[mechanism]
		if !ok {
			return fmt.Errorf("%s needs %s, which the token does not offer: %w", alg, mechanismName(mechanism), hsm.ErrUnsupported)
		}
		// Some tokens state RSA sizes in bytes, others not at all.
		if most := info.MaxKeySize; alg.IsRSA() && most >= lifecycle.MinRSABits && uint(bits) > most {
			return fmt.Errorf("%s with %d bits: the token's limit is %d: %w", alg, bits, most, hsm.ErrUnsupported)
		}
	}
	return nil
}

// algorithms lists the JOSE names usable on the token.
func (t *mechanismTable) algorithms() []string {
	var names []string
	for _, alg := range lifecycle.Algorithms {
		bits := 0
		if alg.IsRSA() {
			bits = lifecycle.MinRSABits
		}
		if t.check(alg, bits) == nil {
			names = append(names, string(alg))
		}
	}
	return names
}

func (t *mechanismTable) report() []hsm.Mechanism {
	list := make([]hsm.Mechanism, 0, len(t.order))
	for _, m := range t.order {
		list = append(list, hsm.Mechanism{Name: mechanismName(m), MinBits: t.info[m].MinKeySize, MaxBits: t.info[m].MaxKeySize})
	}
	return list
}

func mechanismName(m uint) string {
	if name, ok := mechanismNames[m]; ok {
		return name
	}
	return fmt.Sprintf("%#x", m)
}

// mechanismNames are those an operator may look for; the others are shown as
// numbers.
var mechanismNames = map[uint]string{
	pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN: "CKM_RSA_PKCS_KEY_PAIR_GEN",
	pkcs11.CKM_RSA_PKCS:              "CKM_RSA_PKCS",
	pkcs11.CKM_RSA_X_509:             "CKM_RSA_X_509",
	pkcs11.CKM_RSA_PKCS_OAEP:         "CKM_RSA_PKCS_OAEP",
	pkcs11.CKM_RSA_PKCS_PSS:          "CKM_RSA_PKCS_PSS",
	pkcs11.CKM_SHA1_RSA_PKCS:         "CKM_SHA1_RSA_PKCS",
	pkcs11.CKM_SHA256_RSA_PKCS:       "CKM_SHA256_RSA_PKCS",
	pkcs11.CKM_SHA384_RSA_PKCS:       "CKM_SHA384_RSA_PKCS",
	pkcs11.CKM_SHA512_RSA_PKCS:       "CKM_SHA512_RSA_PKCS",
	pkcs11.CKM_SHA256_RSA_PKCS_PSS:   "CKM_SHA256_RSA_PKCS_PSS",
	pkcs11.CKM_SHA384_RSA_PKCS_PSS:   "CKM_SHA384_RSA_PKCS_PSS",
	pkcs11.CKM_SHA512_RSA_PKCS_PSS:   "CKM_SHA512_RSA_PKCS_PSS",
	pkcs11.CKM_EC_KEY_PAIR_GEN:       "CKM_EC_KEY_PAIR_GEN",
	pkcs11.CKM_ECDSA:                 "CKM_ECDSA",
	pkcs11.CKM_ECDSA_SHA256:          "CKM_ECDSA_SHA256",
	pkcs11.CKM_ECDSA_SHA384:          "CKM_ECDSA_SHA384",
	pkcs11.CKM_ECDH1_DERIVE:          "CKM_ECDH1_DERIVE",
	ckmEdwardsKeyPairGen:             "CKM_EC_EDWARDS_KEY_PAIR_GEN",
	ckmEdDSA:                         "CKM_EDDSA",
	pkcs11.CKM_SHA256:                "CKM_SHA256",
	pkcs11.CKM_SHA384:                "CKM_SHA384",
	pkcs11.CKM_SHA512:                "CKM_SHA512",
	pkcs11.CKM_SHA256_HMAC:           "CKM_SHA256_HMAC",
	pkcs11.CKM_AES_KEY_GEN:           "CKM_AES_KEY_GEN",
	pkcs11.CKM_AES_CBC_PAD:           "CKM_AES_CBC_PAD",
	pkcs11.CKM_AES_GCM:               "CKM_AES_GCM",
	pkcs11.CKM_AES_KEY_WRAP:          "CKM_AES_KEY_WRAP",
	pkcs11.CKM_AES_KEY_WRAP_PAD:      "CKM_AES_KEY_WRAP_PAD",
}
