//go:build chancery_faults && linux

package cluster

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/fault"
)

// tampered is what arrives in place of a grant when somebody on the way keeps one and
// replays it. It lies in a file, so that it survives the process it was made for.
func tampered(g *lease.Grant) *lease.Grant {
	if g == nil {
		return nil
	}
	file := os.Getenv(fault.EnvRecord) + ".grant"
	switch fault.Take(fault.LeaseTaken).Do {
	case fault.Keep:
		b, err := json.Marshal(g)
		if err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
		if err != nil {
			panic(fmt.Sprintf("keep a grant: %v", err)) // the laboratory would prove nothing
		}
	case fault.Replay:
		b, err := os.ReadFile(file)
		old := new(lease.Grant)
		if err == nil {
			err = json.Unmarshal(b, old)
		}
		if err != nil {
			panic(fmt.Sprintf("replay a grant: %v", err))
		}
		return old
	}
	return g
}
