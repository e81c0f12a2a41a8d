package command

import "fmt"

// Every limit of the log in one place, each with its reason.
const (
	MaxEntryBytes    = 1 << 20 // a Raft entry larger than this starves heartbeats on a slow link
	MaxListItems     = 4096    // elements in any list of a command
	MaxNodes         = 64      // voters and non-voters together; more is another cluster
	MaxTextBytes     = 1024    // owner, business reason, comment, detail: shown on one screen
	MaxLabels        = 32      // labels of a key
	MaxLabelBytes    = 128     // one label name or value
	MaxSPKIBytes     = 1024    // RSA-4096 needs 550
	MaxCertBytes     = 8 << 10 // a CA certificate
	MaxAttributes    = 32      // PKCS#11 attributes recorded per instance
	MaxGrants        = 64      // roles of a principal
	MaxSSHKeys       = 16      // SSH keys of a principal
	MaxSSHKeyBytes   = 2 << 10 // an authorized_keys line
	MaxAddrBytes     = 260     // host:port, 253 + 7
	MaxRequestIDSize = 36      // a UUID in text
	MaxReads         = 256     // rows a plan was made on
	MaxSignerBytes   = 128     // a hash, an id or a token id in text
)

func text(what, s string, required bool) error {
	if required && s == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if len(s) > MaxTextBytes {
		return fmt.Errorf("%s has %d bytes: at most %d are allowed", what, len(s), MaxTextBytes)
	}
	return printable(what, s)
}

// printable refuses control characters and bytes that are not UTF-8: texts end up
// in log leaves, terminals and CSV files, where they must not pretend to be more.
func printable(what, s string) error {
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return fmt.Errorf("%s has a control character or is not UTF-8", what)
		}
	}
	return nil
}

func size(what string, n, min, max int) error {
	if n < min || n > max {
		return fmt.Errorf("%s has %d bytes: allowed are %d to %d", what, n, min, max)
	}
	return nil
}

func count(what string, n, max int) error {
	if n > max {
		return fmt.Errorf("%d %s: at most %d are allowed", n, what, max)
	}
	return nil
}
