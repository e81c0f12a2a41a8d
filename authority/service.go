package authority

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Recorder is the audit journal as the service uses it.
type Recorder interface {
	// Append returns when the record is on the disk.
	Append(ctx context.Context, r audit.Record) (seq uint64, err error)
	// AppendAsync queues a record nobody waits for.
	AppendAsync(r audit.Record) error
}

// Config of a Service. Clock and Rand default to the real ones.
type Config struct {
	Ledger  ledger.Ledger
	Members ledger.Membership
	Audit   Recorder
	Gossip  GossipKeys  // nil = there is none to rotate
	Full    func() bool // the disk is full: only withdrawals are carried out; nil = it never is
	Clock   func() time.Time
	Rand    io.Reader
	Logger  *slog.Logger
}

// Service is one node's authority.
type Service struct {
	ledger  ledger.Ledger
	members ledger.Membership
	audit   Recorder
	gossip  GossipKeys
	full    func() bool
	clock   func() time.Time
	rand    io.Reader
	log     *slog.Logger
	logins  *challenges

	revocations *revocations // that share entries
	issuances   *issuances   // likewise
}

// New makes a Service; it starts nothing.
func New(c Config) *Service {
	s := &Service{ledger: c.Ledger, members: c.Members, audit: c.Audit, gossip: c.Gossip, full: c.Full, clock: c.Clock, rand: c.Rand, log: c.Logger}
	if s.full == nil {
		s.full = func() bool { return false }
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.logins = newChallenges(s.rand)
	s.revocations = &revocations{Carry: s.carryRevocations, Items: command.MaxGathered}
	s.issuances = newIssuances(s)
	return s
}

// View is the newest state of this node, of any age.
func (s *Service) View() *state.View { return s.ledger.View() }

// Read returns a state that is as fresh as asked.
func (s *Service) Read(ctx context.Context, f ledger.Freshness) (ledger.Snapshot, error) {
	return s.ledger.Read(ctx, f)
}

// Ledger is what the service proposes to.
func (s *Service) Ledger() ledger.Ledger { return s.ledger }

// Now is the node's wall time as the log carries it.
func (s *Service) Now() lifecycle.Instant { return lifecycle.Instant(s.clock().UnixMilli()) }

// draw fills b with random bytes.
func (s *Service) draw(b []byte) error {
	if _, err := io.ReadFull(s.rand, b); err != nil {
		return fmt.Errorf("draw random bytes: %w", err)
	}
	return nil
}

func (s *Service) drawHex(n int) (string, error) {
	b := make([]byte, n)
	if err := s.draw(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

// DrawCKAID draws the CKA_ID of a new instance.
func (s *Service) DrawCKAID() (id lifecycle.CKAID, err error) {
	err = s.draw(id[:])
	return id, err
}
