package integration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// acceptance is a signature that a caller got and believed.
type acceptance struct {
	key     string
	version uint64
	kid     string
	node    string
	caller  string
	sdk     bool   // by our client, with its deadline
	call    int64  // before it was sent
	at      int64  // when the caller had it
	index   uint64 // of the state it was admitted by
	strict  bool
	record  uint64 // index of its record, strict only
	request string
}

// sign signs on one node, with whatever key is in use.
func (r *trial) sign(n *node, k *client.Client, sdk bool, think time.Duration, random *rand.Rand) {
	defer k.Close()
	for i := 0; r.ctx.Err() == nil; i++ {
		if key := r.key(random); key != "" {
			r.signOnce(n, k, key, "admin", sdk, i)
		}
		pause(r.ctx, time.Duration(random.Int64N(int64(think))))
	}
}

// signOnce asks for one signature and keeps it. A signature that is asked for is
// waited for, also when the trial ends meanwhile.
func (r *trial) signOnce(n *node, k *client.Client, key, caller string, sdk bool, i int) {
	text := fmt.Sprintf("%s on %s %d", key, n.name, i)
	req := wire.SignRequest{Message: []byte(text)}
	if i%2 == 1 {
		sum := sha256.Sum256([]byte(text))
		req = wire.SignRequest{Digest: sum[:], Hash: "SHA-256"}
	}
	within, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	call := mono()
	s, err := k.Sign(within, key, req, client.At(n.api))
	at := mono()
	if err != nil {
		r.told("sign", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted = append(r.accepted, acceptance{key: key, version: s.Version, kid: s.KID, node: s.Node, caller: caller, sdk: sdk, call: call, at: at,
		index: s.Position.Index, strict: s.Strict, record: s.RecordIndex, request: s.RequestID})
	if r.strict[key] { // it was written into the log meanwhile, while its version could sign
		r.addLocked(keyOp{key: key, verb: "sign", version: s.Version}, keyAnswer{}, call, at)
	}
}

// kindOf is an error in a word or two, to count.
func kindOf(err error) string {
	var refused *wire.Error
	var gone *client.Unavailable
	var unknown *client.OutcomeUnknown
	switch {
	case err == nil:
		return "no answer"
	case errors.As(err, &unknown):
		return "outcome unknown"
	case errors.As(err, &gone):
		if code := wire.CodeOf(gone.Err); code != "" {
			return string(code)
		}
		return "unavailable"
	case errors.As(err, &refused):
		return string(refused.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return "lost"
}
