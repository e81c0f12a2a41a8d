//go:build linux && cgo

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/store"
)

// certBatch is how many certificates share an entry here, as many as there are callers
// in the group that issues them.
const certBatch = 32

// pkiState measures one node's state file with few and with a million certificates: what
// each costs when it is applied, how long one takes to find, and what the file, the
// memory, a restart and a snapshot come to.
func (b *bench) pkiState() error {
	c, err := startChild(nil, "pki-state", filepath.Join(b.dir, "pkistate"))
	if err != nil {
		return err
	}
	ask := func(line string) (n float64) {
		if err == nil {
			n, err = c.ask(line)
			b.say("pkistate: %s: %g", line, n)
		}
		return n
	}
	few := b.certificates / 100
	firstCost := ask(fmt.Sprint("few ", few))
	cost, look, firstLook := ask(fmt.Sprint("load ", b.certificates)), ask("look"), ask("fewlook")
	anon, file := ask("anon"), ask("file")
	snapshot, install, copying := ask("snapshot"), ask("install"), ask("cpu")
	restart, scan := ask("restart"), ask("scan")
	early := ask(fmt.Sprint("revoke ", few))
	late := ask(fmt.Sprint("revoke ", few))
	crl, again := ask("crl"), ask("anon")
	if err := errors.Join(err, c.stop()); err != nil {
		return err
	}
	t, all := b.table, fmt.Sprintf("%d certificates", b.certificates)
	t.atMost("apply a certificate, intent and record, CPU of one node", cost, 120, "us", fmt.Sprintf("%d in an entry; %.0f us with the first %d", certBatch, firstCost, few))
	t.atMost("status of a certificate, p99, against that with "+strconv.Itoa(few), look/firstLook, 1.5, "x", fmt.Sprintf("%.1f us, %.1f us", look, firstLook))
	t.atMost("revoke a certificate, CPU of one node", late, 1.2*early, "us", fmt.Sprintf("with %d revoked before, against none", few))
	t.atMost("anonymous memory, "+all, anon, 1024, "MiB", fmt.Sprintf("%.0f MiB at the end", again))
	t.atMost("state file, "+all, file, 2000, "MB", "")
	t.atMost("restart, "+all, restart, 10, "s", fmt.Sprintf("and %.1f s until the file is verified", scan))
	t.atMost("snapshot and install, "+all, snapshot+install, 90, "s", fmt.Sprintf("%.1f s and %.1f s; %.1f s of CPU", snapshot, install, copying))
	t.atMost(fmt.Sprintf("copy a CRL's %d entries", 2*few), crl, 1, "s", "")
	return nil
}

// pkiStateFile is the child of pkiState: one state file and what is asked of it.
type pkiStateFile struct {
	dir   string
	s     *store.Store
	index uint64
	have  int           // certificates
	gone  int           // of them revoked, the first ones
	moved time.Duration // CPU of the snapshot and its installation

	few *pkiStateFile // another one, with few
	has float64       // what the last look took in it
}

func pkiStateChild(args []string) error {
	if len(args) != 1 {
		return errors.New("pki-state takes a directory")
	}
	f := &pkiStateFile{dir: args[0]}
	if err := f.make(); err != nil {
		return err
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		verb, n, _ := strings.Cut(lines.Text(), " ")
		count, _ := strconv.Atoi(n) // 0 for verbs without a number
		got, err := f.do(verb, count)
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Println(got)
	}
	return f.s.Close()
}

// make begins a state with an issuer.
func (f *pkiStateFile) make() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	return f.apply(append([][]byte{fsmtest.Genesis()}, fsmtest.PKI()...)...)
}

// begin makes the other state and answers what its certificates cost.
func (f *pkiStateFile) begin(n int) (float64, error) {
	f.few = &pkiStateFile{dir: filepath.Join(f.dir, "few")}
	if err := f.few.make(); err != nil {
		return 0, err
	}
	return f.few.load(n)
}

func (f *pkiStateFile) open() (err error) {
	f.s, err = store.Open(f.dir, store.Options{Fatal: func(err error) { exit(err) }})
	return err
}

func (f *pkiStateFile) do(verb string, n int) (float64, error) {
	switch verb {
	case "load":
		return f.load(n)
	case "few":
		return f.begin(n)
	case "look":
		return f.lookAtBoth()
	case "fewlook":
		return f.has, nil
	case "revoke":
		return f.revoke(n)
	case "crl":
		return f.crl()
	case "anon":
		return rssAnon()
	case "file":
		z, err := f.s.Sizes()
		return float64(z.FileBytes) / 1e6, err
	case "snapshot":
		return seconds(func() error { return f.counted(f.snapshot) })
	case "install":
		return seconds(func() error { return f.counted(f.install) })
	case "cpu":
		return f.moved.Seconds(), nil
	case "restart":
		return seconds(f.restart)
	case "scan":
		return seconds(func() error {
			_, err := f.s.Scan(context.Background())
			return err
		})
	}
	return 0, errors.New("what is that")
}

func seconds(do func() error) (float64, error) {
	start := time.Now()
	err := do()
	return time.Since(start).Seconds(), err
}

// apply takes entries in as one transaction.
func (f *pkiStateFile) apply(entries ...[]byte) error {
	batch := make([]store.Entry, len(entries))
	for i, data := range entries {
		f.index++
		batch[i] = store.Entry{Index: f.index, Data: data}
	}
	outcomes, err := f.s.ApplyBatch(batch)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if !o.OK() || slices.ContainsFunc(o.Groups, func(g state.GroupOutcome) bool { return g.Code != "" }) {
			return fmt.Errorf("an entry was refused: %+v", o)
		}
	}
	return nil
}

// timed is apply, and adds the CPU it took.
func (f *pkiStateFile) timed(spent *time.Duration, entry []byte) error {
	before := ownCPU()
	err := f.apply(entry)
	*spent += ownCPU() - before
	return err
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it fails for a bad pointer only
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load goes on to n certificates and answers the CPU for one, in microseconds.
func (f *pkiStateFile) load(n int) (float64, error) {
	var spent time.Duration
	first := f.have
	for ; f.have < n; f.have += certBatch {
		intents, record := fsmtest.Issue(f.have, certBatch)
		if err := errors.Join(f.timed(&spent, intents), f.timed(&spent, record)); err != nil {
			return 0, err
		}
	}
	return float64(spent.Microseconds()) / float64(f.have-first), nil
}

func (f *pkiStateFile) revoke(n int) (float64, error) {
	var spent time.Duration
	first, at := f.gone, fsmtest.CertAt(f.have, certBatch)
	for ; f.gone < first+n; f.gone += certBatch {
		if err := f.timed(&spent, fsmtest.Revoke(f.gone, certBatch, certBatch, at)); err != nil {
			return 0, err
		}
	}
	return float64(spent.Microseconds()) / float64(f.gone-first), nil
}

// lookAtBoth measures finding a certificate among many and among few, in turns, and
// answers the former.
func (f *pkiStateFile) lookAtBoth() (float64, error) {
	var many, few []float64
	for range 15 {
		a, err := f.lookup()
		if err != nil {
			return 0, err
		}
		b, err := f.few.lookup()
		if err != nil {
			return 0, err
		}
		many, few = append(many, a), append(few, b)
	}
	f.has = median(few)
	return median(many), nil
}

// lookup answers the 99th percentile of finding a certificate by its serial, in
// microseconds.
func (f *pkiStateFile) lookup() (float64, error) {
	took := make([]float64, 10_000)
	for i := range took {
		serial := fsmtest.CertSerial(rand.IntN(f.have), certBatch)
		start := time.Now()
		c, err := f.s.View().Certificate(serial)
		took[i] = float64(time.Since(start).Nanoseconds()) / 1e3
		if err != nil || c == nil {
			return 0, fmt.Errorf("certificate %s is not there: %w", serial, err)
		}
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}

// crl copies the entries of the CRL, as who builds one would.
func (f *pkiStateFile) crl() (float64, error) {
	entries := 0
	took, err := seconds(func() error {
		var all []byte
		_, err := f.s.View().EachRevoked(fsmtest.IssuerKID, func(e state.RevokedEntry) bool {
			all = append(all, e.DER...)
			entries++
			return true
		})
		return err
	})
	if err == nil && entries != f.gone {
		err = fmt.Errorf("%d entries of %d", entries, f.gone)
	}
	return took, err
}

func (f *pkiStateFile) taken() string { return filepath.Join(f.dir, "taken.snap") }

func (f *pkiStateFile) counted(do func() error) error {
	before := ownCPU()
	err := do()
	f.moved += ownCPU() - before
	return err
}

func (f *pkiStateFile) snapshot() error {
	n, err := f.s.Snapshot()
	if err != nil {
		return err
	}
	defer n.Release()
	out, err := os.Create(f.taken())
	if err != nil {
		return err
	}
	if _, err := n.Write(out); err != nil {
		return errors.Join(err, out.Close())
	}
	return errors.Join(out.Sync(), out.Close())
}

// install gives the snapshot to a node that has nothing.
func (f *pkiStateFile) install() error {
	dir := filepath.Join(f.dir, "new")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	s, err := store.Open(dir, store.Options{Fatal: func(err error) { exit(err) }})
	if err != nil {
		return err
	}
	in, err := os.Open(f.taken())
	if err != nil {
		return err
	}
	defer in.Close()
	_, replaced, err := s.Restore(in)
	if err == nil && !replaced {
		err = errors.New("the snapshot was passed over")
	}
	return errors.Join(err, s.Close(), os.RemoveAll(dir), os.Remove(f.taken()))
}

func (f *pkiStateFile) restart() error {
	if err := f.s.Close(); err != nil {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	c, err := f.s.View().Certificate(fsmtest.CertSerial(0, certBatch))
	if err == nil && c == nil {
		err = errors.New("the first certificate is gone")
	}
	return err
}

// rssAnon is this process's anonymous memory in MiB.
func rssAnon() (float64, error) {
	_, anonymous, err := residentMiB(os.Getpid())
	return anonymous, err
}
