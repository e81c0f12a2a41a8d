package authority

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/sshsig"
)

// LoginNamespace is the SSHSIG namespace of login answers. It is not the one of
// approvals, so that neither can be passed off as the other.
const LoginNamespace = "chancery-login"

const (
	challengeTTL  = 2 * lifecycle.Minute
	maxChallenges = 1024 // open at once, over all callers
	loginTTL      = 8 * lifecycle.Hour
)

// challenges are the login challenges this leader has open. They live in memory:
// a new leader knows none of them, and the caller asks again.
type challenges struct {
	rand io.Reader
	mu   sync.Mutex
	open map[string]challenge
}

type challenge struct {
	principal string
	text      string
	expiresAt lifecycle.Instant
}

func newChallenges(rand io.Reader) *challenges {
	return &challenges{rand: rand, open: map[string]challenge{}}
}

// Challenge gives the text that a login signs. A principal that does not exist
// gets one too: whether a name is known is nobody's business before login.
func (s *Service) Challenge(principal string) (nonce, text string, expiresAt lifecycle.Instant, err error) {
	if l := s.ledger.Leadership(); !l.Self || !l.Ready {
		return "", "", 0, ledger.ErrNotLeader
	}
	if err := lifecycle.CheckName("principal", principal); err != nil {
		return "", "", 0, refuse("invalid", "", "%v", err)
	}
	c := s.View().Cluster()
	var raw [16]byte
	if err := s.draw(raw[:]); err != nil {
		return "", "", 0, err
	}
	nonce = hex.EncodeToString(raw[:])
	now := s.Now()
	ch := challenge{principal: principal, expiresAt: now.Add(challengeTTL)}
	ch.text = strings.Join([]string{"chancery-login/1", "cluster: " + c.ID, "epoch: " + strconv.FormatUint(c.Epoch, 10),
		"principal: " + principal, "nonce: " + nonce, "expires: " + ch.expiresAt.String(), ""}, "\n")
	if !s.logins.add(nonce, ch, now) {
		return "", "", 0, ledger.ErrBusy
	}
	return nonce, ch.text, ch.expiresAt, nil
}

func (l *challenges) add(nonce string, c challenge, now lifecycle.Instant) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, old := range l.open {
		if old.expiresAt <= now {
			delete(l.open, n)
		}
	}
	if len(l.open) >= maxChallenges {
		return false
	}
	l.open[nonce] = c
	return true
}

// take hands a challenge out once.
func (l *challenges) take(nonce string, now lifecycle.Instant) (challenge, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.open[nonce]
	delete(l.open, nonce)
	return c, ok && now < c.expiresAt
}

// Login trades a signed challenge for a token of eight hours.
func (s *Service) Login(ctx context.Context, req Request, nonce, signature string) (Result, string, error) {
	c, ok := s.logins.take(nonce, s.Now())
	if !ok {
		return Result{}, "", fmt.Errorf("%w: the challenge is unknown, was used, or is older than %s: ask for a new one", ErrUnauthenticated, challengeTTL)
	}
	p := s.View().Principal(c.principal)
	if p == nil || p.RevokedAt != 0 || !signedBy(p, c.text, signature) {
		return Result{}, "", fmt.Errorf("%w: the signature is not from an SSH key of %s", ErrUnauthenticated, c.principal)
	}
	req.Caller = Caller{Principal: p.Name, Remote: req.Caller.Remote}
	return s.makeToken(ctx, req, access.TokenSelf, p.Name, "login", min(loginTTL, s.View().Cluster().Settings.MaxTokenTTL))
}

func signedBy(p *lifecycle.Principal, text, signature string) bool {
	for _, line := range p.SSHKeys {
		key, err := sshsig.ParseAuthorizedKey(line)
		if err == nil && sshsig.Verify(key, LoginNamespace, []byte(text), []byte(signature)) == nil {
			return true
		}
	}
	return false
}
