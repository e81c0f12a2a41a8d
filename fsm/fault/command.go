package fault

// The environment of a process that is broken on purpose.
const (
	EnvFaults  = "CHANCERY_FAULTS"        // comma list of seeded faults that are on from the start
	EnvControl = "CHANCERY_FAULT_CONTROL" // path of the unix socket on which the process takes commands
	EnvRecord  = "CHANCERY_FAULT_RECORD"  // file to which events are appended
)

// Command is one line that the laboratory sends. Each is answered with a Reply when
// it is in effect.
type Command struct {
	Order *Order      `json:"order,omitempty"` // arm a point
	Clear bool        `json:"clear,omitempty"` // take all orders away
	Seed  string      `json:"seed,omitempty"`  // switch a seeded fault, see On
	On    bool        `json:"on,omitempty"`
	Clock *Distortion `json:"clock,omitempty"`
	Met   string      `json:"met,omitempty"` // how often was this point reached with an order
}

// Reply to a Command.
type Reply struct {
	Error string `json:"error,omitempty"`
	Met   int    `json:"met,omitempty"`
}

// What can happen at a marked point.
const (
	Stop  = "stop"  // the process stops itself, as SIGSTOP does; somebody has to continue it
	Sleep = "sleep" // this goroutine waits
	Kill  = "kill"  // the process ends as kill -9 ends it
	Fail  = "fail"  // at points of the key store: the call fails
	Wrong = "wrong" // at points of the key store: the signature is wrong

	Keep   = "keep"   // at LeaseTaken: keep the grant, also over a restart
	Replay = "replay" // at LeaseTaken: the grant that was kept takes the place of the one that came
)

// Order says what happens at a point.
type Order struct {
	Point string `json:"point"`
	Do    string `json:"do"`
	MS    int64  `json:"ms,omitempty"`    // Sleep
	Times int    `json:"times,omitempty"` // 0 = each time
}

// Distortion is how clocks are falsified, from the moment it is set.
type Distortion struct {
	Rate   float64 `json:"rate"`              // 1.1: this node's clocks run 10 % fast; 0 = 1
	JumpMS int64   `json:"jump_ms,omitempty"` // both clocks jump by so much, once
	BootMS int64   `json:"boot_ms,omitempty"` // CLOCK_BOOTTIME jumps alone, as in a suspend
	WallMS int64   `json:"wall_ms,omitempty"` // how wrong the wall clock is, as this node tells it to others; 0 = not at all
}
