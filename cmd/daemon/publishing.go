package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// What this node publishes about certificates: the CRLs of all instances, and OCSP
// answers by a key of its own.

const (
	crlDir           = "crl"
	responderFile    = "ocsp.key"
	responderPEM     = "PRIVATE KEY"
	announceRetry    = 2 * time.Second
	announceRest     = time.Minute
	fetchTimeout     = 30 * time.Second
	maxFetchCRLBytes = 1 << 30 // of twenty million entries
)

// startPublishing opens what is served, and starts what keeps it current.
func (d *Daemon) startPublishing(ctx context.Context) (err error) {
	write := func(path string, b []byte) error { return disk.WriteFileAtomic(path, b, disk.FileMode) }
	if d.crls, err = crl.OpenStore(filepath.Join(d.place.dir.Root(), crlDir), write); err != nil {
		return err
	}
	d.fetcher = &http.Client{Transport: &http.Transport{TLSClientConfig: d.clientTLS(), IdleConnTimeout: 50 * time.Second}}
	key, err := responderKey(filepath.Join(d.place.dir.Identity(), responderFile), write)
	if err != nil {
		return err
	}
	source, err := ocsp.NewState(d.node, key, d.log)
	if err != nil {
		return err
	}
	d.responder = ocsp.NewResponder(ocsp.Config{Source: source})
	log := certificateLog{d.reporter}
	maker := crl.NewMaker(crl.Config{Ledger: d.node, Store: d.crls, Clock: time.Now, Logger: d.log, Fetch: d.fetchCRL,
		Sign: crl.Upheld(d.signer, d.config.NodeName, elapsed, func(ctx context.Context, c *command.AllocateCRL) (state.Outcome, error) {
			return log.AllocateCRL(ctx, *c)
		})})
	d.background(func() { maker.Run(ctx) })
	d.background(func() { d.announceResponder(ctx, log, &key.PublicKey) })
	return nil
}

// responderKey reads the key with which this node answers OCSP requests, or makes it. Its
// worth is little: an answer is believed for an hour, and the certificates for it are
// issued anew when the node announces another key.
func responderKey(path string, write func(string, []byte) error) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newResponderKey(path, write)
	}
	if err != nil {
		return nil, fmt.Errorf("read the OCSP key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != responderPEM {
		return nil, fmt.Errorf("read the OCSP key: %s is no PEM file of a private key: remove it, the node makes a new one", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("read the OCSP key: %s holds no P-256 key: remove it, the node makes a new one", path)
	}
	return key, nil
}

func newResponderKey(path string, write func(string, []byte) error) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the OCSP key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the OCSP key: %w", err)
	}
	if err := write(path, pem.EncodeToMemory(&pem.Block{Type: responderPEM, Bytes: der})); err != nil {
		return nil, fmt.Errorf("keep the OCSP key: %w", err)
	}
	return key, nil
}

// announceResponder makes the key known once there is an issuer to answer for, and again
// when the log has another one of this node.
func (d *Daemon) announceResponder(ctx context.Context, log certificateLog, public *ecdsa.PublicKey) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		d.log.Error("announce the OCSP key", "err", err)
		return
	}
	for ctx.Err() == nil {
		v := d.node.View()
		wait, changed := announceRest, d.node.Changed(v.Position().Index)
		if n := v.Node(d.node.NodeID()); n != nil && n.Status != lifecycle.Removed && len(v.Issuers()) > 0 && string(n.ResponderKey) != string(spki) {
			o, err := log.AnnounceResponder(ctx, command.AnnounceResponder{Node: n.ID, SPKI: spki})
			if err == nil {
				err = o.Err()
			}
			if err != nil {
				d.log.Debug("announce the OCSP key", "err", err)
			}
			wait, changed = announceRetry, nil // the entry comes back to this node in its time
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(wait):
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // a burst of entries costs one look
		}
	}
}

// fetchCRL asks another node's public listener for a list of its instance. Whoever
// answers is not believed: the list is signed, and its hash stands in the log.
func (d *Daemon) fetchCRL(ctx context.Context, node lifecycle.NodeID, kid string, shard uint64) ([]byte, error) {
	v := d.node.View()
	n, ca := v.Node(node), v.CACertByKID(kid)
	if n == nil || ca == nil || n.Addrs.Public == "" {
		return nil, fmt.Errorf("no address is known of node %s", node.Short())
	}
	file := kid
	if shard > 0 {
		file = fmt.Sprintf("%s.%d", kid, shard)
	}
	path := n.Addrs.Public + "/crl/" + string(ca.Issuer) + "/" + file + ".crl"
	first, second := "https://", "http://"
	if d.config.TLS.PlainPublic {
		first, second = second, first
	}
	b, err := d.fetch(ctx, first+path)
	if err == nil {
		return b, nil
	}
	b, other := d.fetch(ctx, second+path)
	if other != nil {
		return nil, errors.Join(err, other)
	}
	return b, nil
}

func (d *Daemon) fetch(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch a CRL: %w", err)
	}
	resp, err := d.fetcher.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch a CRL: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // what was read is checked by its hash
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch a CRL: %s answers %s", url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxFetchCRLBytes))
	if err != nil {
		return nil, fmt.Errorf("fetch a CRL: %w", err)
	}
	return b, nil
}
