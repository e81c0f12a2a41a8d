package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Profile is what certificates of one kind look like.
type Profile struct {
	Name    string
	Version uint64 // 0 = built in
	Terms   lifecycle.ProfileTerms
	Hash    [sha256.Size]byte // names it in the log
}

// NewProfile names terms.
func NewProfile(name string, version uint64, terms lifecycle.ProfileTerms) *Profile {
	return &Profile{Name: name, Version: version, Terms: terms, Hash: command.ProfileHash(name, &terms)}
}

// ErrProfile is what every refusal of a profile wraps.
var ErrProfile = errors.New("profile")

// anything lets those who run the cluster have every name; others get rules of their own.
func anything() []lifecycle.NameRule {
	var out []lifecycle.NameRule
	for _, role := range []lifecycle.Role{lifecycle.Admin, lifecycle.Operator} {
		out = append(out, lifecycle.NameRule{Requester: rolePrefix + string(role), DNS: []string{"**"}, IPs: []string{"0.0.0.0/0", "::/0"},
			URIs: []string{"https://**", "spiffe://**"}, Emails: []string{"*@*"}})
	}
	return out
}

// builtin are the profiles every cluster has.
var builtin = func() map[string]*Profile {
	modern := []string{KeyP256, KeyP384, KeyEd25519, KeyRSA3072, KeyRSA4096}
	out := map[string]*Profile{}
	for name, t := range map[string]lifecycle.ProfileTerms{
		"server": {Usage: []string{"digitalSignature", "keyEncipherment"}, ExtendedUsage: []string{"serverAuth"}, Keys: append(slices.Clone(modern), KeyRSA2048),
			DefaultValidity: 30 * lifecycle.Day, MaxValidity: 90 * lifecycle.Day, CommonName: "first", Names: anything()},
		"client": {Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"clientAuth"}, Keys: modern,
			DefaultValidity: lifecycle.Day, MaxValidity: 30 * lifecycle.Day, CommonName: "request", Names: anything(), NamesOptional: true},
		"workload": {Usage: []string{"digitalSignature", "keyEncipherment"}, ExtendedUsage: []string{"serverAuth", "clientAuth"}, Keys: modern,
			DefaultValidity: lifecycle.Day, MaxValidity: 7 * lifecycle.Day, CommonName: "none", Names: anything()},
		"code": {Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"codeSigning"}, Keys: modern,
			DefaultValidity: 90 * lifecycle.Day, MaxValidity: 366 * lifecycle.Day, CommonName: "request", Names: anything(), NamesOptional: true},
		lifecycle.ProfileOCSP: {Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"OCSPSigning"}, Keys: modern,
			DefaultValidity: 30 * lifecycle.Day, MaxValidity: 30 * lifecycle.Day, CommonName: "request", NamesOptional: true, OCSPNoCheck: true},
	} {
		t.Backdate = 5 * lifecycle.Minute
		out[name] = NewProfile(name, 0, t)
	}
	return out
}()

// Builtin finds a built-in profile, nil when there is none of the name.
func Builtin(name string) *Profile { return builtin[name] }

// Builtins are the names of the built-in profiles that people may use, sorted.
func Builtins() (names []string) {
	for name := range builtin {
		if name != lifecycle.ProfileOCSP {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// MaxProfileBytes is the longest profile file that is read.
const MaxProfileBytes = 64 << 10

// ParseProfile reads a profile from TOML. An unknown field is an error that names the
// known ones.
func ParseProfile(b []byte) (t lifecycle.ProfileTerms, err error) {
	if len(b) > MaxProfileBytes {
		return t, fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrProfile, len(b), MaxProfileBytes)
	}
	meta, err := toml.Decode(string(b), &t)
	if err != nil {
		return t, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return t, fmt.Errorf("%w: unknown field %q: the fields are usage, extended_usage, keys, default_validity, max_validity, backdate, common_name, names_optional, no_revocation, ocsp_no_check, and in [[names]] requester, dns, ips, uris, emails", ErrProfile, unknown[0].String())
	}
	return t, CheckProfile(&t)
}

// CheckProfile validates the meaning of a profile's texts; the error says what to
// change.
func CheckProfile(t *lifecycle.ProfileTerms) error {
	if err := checkProfile(t); err != nil {
		return fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return nil
}

func checkProfile(t *lifecycle.ProfileTerms) error {
	if err := t.Check(); err != nil {
		return err
	}
	for _, u := range t.Usage {
		if usages[u] == 0 {
			return fmt.Errorf("usage %q: choose from %s", u, known(usages))
		}
	}
	for _, u := range t.ExtendedUsage {
		if _, err := extendedUsage(u); err != nil {
			return err
		}
	}
	for _, k := range t.Keys {
		if !slices.Contains(KeyTypes, k) {
			return fmt.Errorf("keys: %q is unknown: choose from %s", k, strings.Join(KeyTypes, ", "))
		}
	}
	if t.OCSPNoCheck && !slices.Contains(t.ExtendedUsage, "OCSPSigning") {
		return errors.New("ocsp_no_check is for OCSP responders: add OCSPSigning to extended_usage, or leave it out")
	}
	if t.CommonName == "request" && len(t.Names) == 0 && !t.NamesOptional {
		return errors.New("no rule gives anybody a name, and names_optional is not set: nobody could get a certificate")
	}
	for i := range t.Names {
		if err := checkRule(&t.Names[i]); err != nil {
			return fmt.Errorf("rule %d for names: %w", i+1, err)
		}
	}
	return nil
}

// usages are the bits of KeyUsage that a leaf may have, RFC 5280 section 4.2.1.3.
var usages = map[string]x509.KeyUsage{
	"digitalSignature":  x509.KeyUsageDigitalSignature,
	"contentCommitment": x509.KeyUsageContentCommitment,
	"keyEncipherment":   x509.KeyUsageKeyEncipherment,
	"dataEncipherment":  x509.KeyUsageDataEncipherment,
	"keyAgreement":      x509.KeyUsageKeyAgreement,
}

// extendedUsages by RFC 5280 name. anyExtendedKeyUsage is left out on purpose: a
// certificate for everything is for nothing.
var extendedUsages = map[string]x509.ExtKeyUsage{
	"serverAuth":      x509.ExtKeyUsageServerAuth,
	"clientAuth":      x509.ExtKeyUsageClientAuth,
	"codeSigning":     x509.ExtKeyUsageCodeSigning,
	"emailProtection": x509.ExtKeyUsageEmailProtection,
	"timeStamping":    x509.ExtKeyUsageTimeStamping,
	"OCSPSigning":     x509.ExtKeyUsageOCSPSigning,
}

// extendedUsage reads a name, or an object identifier with dots. Exactly one of the
// results is set.
func extendedUsage(s string) (u extended, err error) {
	if known, ok := extendedUsages[s]; ok {
		return extended{known: known, named: true}, nil
	}
	parts := strings.Split(s, ".")
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil || p != strconv.FormatUint(n, 10) {
			return u, fmt.Errorf("extended usage %q: choose from %s, or write an object identifier such as 1.3.6.1.5.5.7.3.17", s, known(extendedUsages))
		}
		u.oid = append(u.oid, int(n))
	}
	if len(parts) < 3 || u.oid[0] > 2 || u.oid[0] < 2 && u.oid[1] > 39 || u.oid.Equal(asn1.ObjectIdentifier{2, 5, 29, 37, 0}) {
		return u, fmt.Errorf("extended usage %q is no object identifier of one purpose", s)
	}
	return u, nil
}

// extended is one extended key usage.
type extended struct {
	known x509.ExtKeyUsage
	named bool
	oid   asn1.ObjectIdentifier
}

func known[V any](m map[string]V) string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
