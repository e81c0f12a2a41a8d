package hsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Driver names, as they stand in the configuration file.
const (
	DriverPKCS11 = "pkcs11"
	DriverSoft   = "soft"
)

// Config says which key store to open and how. Fields of the other driver are
// ignored, so that one configuration can name both and switch.
type Config struct {
	Driver string // DriverPKCS11 or DriverSoft

	// pkcs11. TokenLabel, TokenSerial or both select the token; slot numbers change
	// over a restart and are not offered.
	Module      string // path of the PKCS#11 shared library
	TokenLabel  string
	TokenSerial string
	PINFile     string // mode 0600 or 0400, or inside $CREDENTIALS_DIRECTORY

	// soft. Exactly one of KeyFile and PassphraseFile seals the keys.
	Dir            string // where the sealed keys lie, inside DataDir
	DataDir        string // KeyFile and PassphraseFile must lie outside of it
	KeyFile        string
	PassphraseFile string
	ClusterID      string // bound into each sealed key, so that it opens in no other cluster

	// Both.
	NodeName     string        // for logs and messages
	Concurrency  int           // calls in the device at one time; 0 = DefaultConcurrency
	QueueMax     int           // calls waiting for a slot before ErrBusy; 0 = DefaultQueue, negative = none
	AbandonAfter time.Duration // pkcs11: a call this long in the device has hung; 0 = 30 s

	// Exit is called once, with a sentence for the operator, when the device hangs
	// in every slot: a thread inside C_Sign cannot be cancelled, only its process
	// ended. nil = log and os.Exit(ExitHung).
	Exit func(reason string)
}

// ExitHung is the process exit code after a hung device, EX_SOFTWARE of
// sysexits.h: a supervisor should start the node again.
const ExitHung = 70

// DefaultAbandonAfter is how long a device call may last before its slot counts
// as hung.
const DefaultAbandonAfter = 30 * time.Second

// DefaultConcurrency is the number of slots when none is configured: sessions
// beyond the cores add only tail latency with a software token, and four keep a
// network HSM busy.
func DefaultConcurrency() int { return min(runtime.NumCPU(), 4) }

// DefaultQueue is the queue bound when none is configured: twice the slots, but at
// least minQueue, because a fast token drains 64 calls in 4 ms while twice two
// slots would refuse a burst of seven callers. The caller's deadline, not the
// count, bounds the wait: a call whose deadline passed is dropped unsigned.
func DefaultQueue(concurrency int) int { return max(2*concurrency, minQueue) }

const minQueue = 64

// WithDefaults fills the fields of both drivers that are zero.
func (c Config) WithDefaults() Config {
	if c.Concurrency <= 0 {
		c.Concurrency = DefaultConcurrency()
	}
	switch {
	case c.QueueMax == 0:
		c.QueueMax = DefaultQueue(c.Concurrency)
	case c.QueueMax < 0:
		c.QueueMax = 0
	}
	if c.AbandonAfter <= 0 {
		c.AbandonAfter = DefaultAbandonAfter
	}
	return c
}

// Opener opens a driver's key store.
type Opener func(ctx context.Context, cfg Config, log *slog.Logger) (KeyStore, error)

// registry holds the drivers of this build. openers is written by package
// initialisation only; the mutex is for tests that register their own.
var registry = struct {
	sync.Mutex
	openers map[string]Opener
}{openers: map[string]Opener{}}

// Register adds a driver. A driver calls it from init; the program selects drivers
// by importing them. Registering a name twice is a programming error and panics.
func Register(name string, open Opener) {
	registry.Lock()
	defer registry.Unlock()
	if open == nil {
		panic("hsm: Register of " + name + " without an opener")
	}
	if _, taken := registry.openers[name]; taken {
		panic("hsm: driver " + name + " registered twice")
	}
	registry.openers[name] = open
}

// Drivers lists the drivers of this build, sorted.
func Drivers() []string {
	registry.Lock()
	defer registry.Unlock()
	return slices.Sorted(maps.Keys(registry.openers))
}

// ErrNoDriver is returned by Open when the configured driver is unknown or was
// left out of this build.
var ErrNoDriver = errors.New("no such key store driver")

// Open opens the configured key store. The caller closes it. With an error the
// KeyStore is nil, whatever the driver returned.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (KeyStore, error) {
	registry.Lock()
	open, ok := registry.openers[cfg.Driver]
	registry.Unlock()
	if !ok {
		return nil, missingDriver(cfg.Driver)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ks, err := open(ctx, cfg.WithDefaults(), log)
	if err != nil {
		return nil, err
	}
	return ks, nil
}

func missingDriver(name string) error {
	have := strings.Join(Drivers(), ", ")
	if have == "" {
		have = "none"
	}
	switch name {
	case DriverPKCS11:
		return fmt.Errorf("%w: driver pkcs11 is not in this build: it needs cgo. Build with CGO_ENABLED=1 and without the tag nopkcs11 (drivers here: %s)", ErrNoDriver, have)
	case DriverSoft:
		return fmt.Errorf("%w: driver soft is not in this build (drivers here: %s)", ErrNoDriver, have)
	case "":
		return fmt.Errorf("%w: no key store driver is configured: set driver to pkcs11 or soft", ErrNoDriver)
	}
	return fmt.Errorf("%w: unknown key store driver %q: set driver to pkcs11 or soft", ErrNoDriver, name)
}
