package daemon

import (
	"errors"
	"fmt"
)

// Rebuild starts a stopped node's data directory over: Raft's files and the state
// are set aside as evidence, identity, audit journal and keys stay. The node then
// comes back, by `chancery server`, as a new incarnation without a vote. It
// returns where the old files are.
func Rebuild(c Config) (aside string, err error) {
	p, err := openPlace(c)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.dir.Close()) }()
	if len(p.member.Seeds) < 2 {
		return "", errors.New("rebuild: this node knows of no other node, so there is nobody to get the state from again")
	}
	if aside, err = p.dir.SetAside(); err != nil {
		return "", fmt.Errorf("rebuild: %w", err)
	}
	return aside, nil
}
