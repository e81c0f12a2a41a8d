package consumer

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Signer signs canaries with this node's instances; signing.Signer is one.
type Signer interface {
	Canaries(ctx context.Context, c signing.Canary, items []int) ([][]byte, error)
}

// Peers asks other nodes. Errors are the other node's, or those of the way there.
type Peers interface {
	SignCanaries(ctx context.Context, node lifecycle.NodeID, c signing.Canary, items []int) ([][]byte, error)
	AnswerChallenge(ctx context.Context, node lifecycle.NodeID, a Answer) (Verdict, error)
	// ReportFetches brings weak evidence to the leader.
	ReportFetches(ctx context.Context, leader lifecycle.NodeID, fetches []Fetch) error
}

// Recorder is the audit journal as the desk uses it.
type Recorder interface {
	AppendAsync(r audit.Record) error
}

// Config of a Desk. Clock, Rand, Gather and Log default to the real ones.
type Config struct {
	Ledger ledger.Ledger
	Signer Signer
	Peers  Peers
	Audit  Recorder
	Sets   *publish.Cache
	Clock  func() time.Time
	Rand   io.Reader
	Gather time.Duration // between two entries of confirmations; 0 = DefaultGather
	Log    *slog.Logger
}

// Desk is where the consumers of one node come.
type Desk struct {
	Config
	challenges challenges
	intake     intake
	counts     counts
	sets       loadedSets
	fetches    fetches
	shadows    shadows
	hsm        chan struct{} // a place for each challenge that is being signed
}

// signingAtOnce is how many challenges have canaries signed at a time. A trust set has
// a handful of new kids, so this keeps most of a key store's places for callers.
const signingAtOnce = 2

// New makes a Desk; it starts nothing.
func New(c Config) *Desk {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Gather == 0 {
		c.Gather = DefaultGather
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Sets == nil {
		c.Sets = new(publish.Cache)
	}
	d := &Desk{Config: c, hsm: make(chan struct{}, signingAtOnce)}
	d.challenges.open = map[string]*pending{}
	d.intake.desk = d
	d.fetches.seen = map[fetchKey]lifecycle.Instant{}
	d.shadows.seen = map[shadowKey]*Shadow{}
	return d
}

func (d *Desk) now() lifecycle.Instant { return lifecycle.Instant(d.Clock().UnixMilli()) }

func refuse(code, hint, format string, args ...any) error {
	return &authority.Refusal{Code: code, Hint: hint, Message: fmt.Sprintf(format, args...)}
}

// Codes of refusals that are born here.
const (
	codeInvalid          = "invalid"
	codeWrongDigest      = "wrong_digest"
	codeChallengeUnknown = "challenge_unknown"
	codeChallengeOther   = "challenge_of_another"
	codeCanaryFailed     = "canary_failed"
)
