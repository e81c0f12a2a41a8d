package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

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
	MaxCertsAbove    = 4       // CA certificates above an imported one
	MaxAttributes    = 32      // PKCS#11 attributes recorded per instance
	MaxGrants        = 64      // roles of a principal
	MaxSSHKeys       = 16      // SSH keys of a principal
	MaxSSHKeyBytes   = 2 << 10 // an authorized_keys line
	MaxAddrBytes     = 260     // host:port, 253 + 7
	MaxRequestIDSize = 36      // a UUID in text
	MaxReads         = 256     // rows a plan was made on
	MaxSignerBytes   = 128     // a hash, an id or a token id in text
	MaxFences        = 1024    // fences one entry records; what is over waits for the next
	MaxGroups        = 256     // requests whose signatures one entry records
	MaxGroupItems    = 1024    // signatures of one request; MaxEntryBytes bounds the sum
	MaxTallies       = 2000    // instances one report counts; more goes into further entries
	MaxReleased      = 1 << 53 // signatures of one instance: a million a second for centuries, and exact in JSON
	MaxSeals         = 64      // seals remembered of one node; more is no incident but a mistake

	MaxPlanBytes     = 64 << 10           // the command inside a proposal
	MaxIntentBytes   = 48 << 10           // its lines: what somebody signs, somebody must be able to read
	MaxArmorBytes    = 2 << 10            // an SSH signature in armor, under 800
	MaxOpenProposals = 1000               // at a time; more is nobody's reading
	MaxOpenOfOne     = 64                 // of one requester, so that nobody fills the list for the others
	MaxProposalLife  = 30 * lifecycle.Day // people forget what they were asked

	MaxKIDs          = 256  // public keys in a trust set that somebody confirms
	MaxConfirmations = 2000 // in one entry: some 30 ms of Apply
	MaxIssueItems    = 256  // certificates one entry announces or records; MaxEntryBytes bounds the sum
	MaxWarnItems     = 64   // certificates one entry calls expiring
	MaxRevokeItems   = 1024 // certificates one entry revokes, releases or prunes
	MaxGathered      = 128  // requests that share an entry; with comments and rows of their callers it has room for them
	MaxGatheredCerts = 512  // certificates that the parts of one entry announce or record
	MaxGatheredReads = 4    // rows that one of them rests on: its caller, its token
	MaxCRLShards     = 1024 // of one instance's CRL; its full CRL is then a thousand times a shard's size

	MaxConfirmAhead = 3 * 366 * lifecycle.Day // a purpose that nobody looks at for longer is nobody's

	minLease      = lifecycle.Second      // below it one lost message stops a node from signing
	maxLease      = lifecycle.Minute      // above it a revocation waits longer for an unreachable node than people do
	minRequestAge = lifecycle.Second / 10 // below it an HSM on a network cannot answer in time

	// MaxInstant is the end of the year 9999: RFC 5280 and RFC 3339 know no later
	// time, and far below it no sum of instants overflows.
	MaxInstant lifecycle.Instant = 253_402_300_799_999
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

func printable(what, s string) error {
	if !lifecycle.Printable(s) {
		return fmt.Errorf("%s has a control character or is not UTF-8", what)
	}
	return nil
}

// tokenID validates the public id of a token.
func tokenID(id string) error {
	if err := size("token id", len(id), 8, MaxSignerBytes); err != nil {
		return err
	}
	return printable("token id", id)
}

// lowerHex validates n hex digits.
func lowerHex(what, s string, n int) error {
	if err := size(what, len(s), n, n); err != nil {
		return err
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return fmt.Errorf("%s is not lower-case hex", what)
		}
	}
	return nil
}

// checkVersion validates the name of a version of a key.
func checkVersion(key lifecycle.KeyID, n uint64) error {
	if n == 0 {
		return fmt.Errorf("version 0 does not exist: versions are counted from 1")
	}
	return lifecycle.CheckName("key", string(key))
}

// checkInstance validates the name of an instance.
func checkInstance(key lifecycle.KeyID, n uint64, node lifecycle.NodeID) error {
	if err := checkVersion(key, n); err != nil {
		return err
	}
	return lifecycle.CheckNodeID(node)
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
