package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/tlsmux"
)

const (
	joinPath     = "/join/v1"
	maxJoinBytes = 256 << 10
	joinTimeout  = 30 * time.Second
)

// joinRequest is what a new node says to any voter.
type joinRequest struct {
	TokenID string             `json:"token_id"`
	Node    command.NodeRecord `json:"node"`
	SPKI    []byte             `json:"spki"`  // DER, of the identity key; its hash is Node.ID
	Proof   []byte             `json:"proof"` // HMAC over Node, by the token's secret
}

// joinResponse makes it a member, or says who can.
type joinResponse struct {
	Leader      string                            `json:"leader,omitempty"` // node address to ask instead
	Error       string                            `json:"error,omitempty"`
	ClusterName string                            `json:"cluster_name,omitempty"`
	Leaf        []byte                            `json:"leaf,omitempty"`   // DER
	Bundle      []byte                            `json:"bundle,omitempty"` // PEM
	Seeds       map[lifecycle.NodeID]cluster.Seed `json:"seeds,omitempty"`
	GossipKeys  [][]byte                          `json:"gossip_keys,omitempty"`
}

// Join makes an empty data directory a member's, with a token from a file. The
// node then starts with `chancery server`, without a vote.
func Join(ctx context.Context, c Config, tokenFile, version string) (err error) {
	text, err := readTokenFile(tokenFile)
	if err != nil {
		return err
	}
	t, err := authority.ParseJoinToken(text)
	if err != nil {
		return err
	}
	p, err := newPlace(c, t.Cluster, time.Now())
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	defer func() { err = errors.Join(err, p.dir.Close()) }()
	spki, err := x509.MarshalPKIXPublicKey(p.key.Public())
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	req := joinRequest{TokenID: t.ID, Node: p.record(c, version), SPKI: spki}
	req.Proof = authority.JoinProof(authority.JoinMACKey([16]byte(t.Secret)), t.Cluster, req.Node)
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	resp, err := askToJoin(ctx, t, req)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return p.enrol(resp, c, t.Cluster)
}

func (p *place) enrol(resp joinResponse, c Config, clusterID string) error {
	leaf, err := x509.ParseCertificate(resp.Leaf)
	if err != nil {
		return fmt.Errorf("join: read the certificate: %w", err)
	}
	bundle, err := identity.ParseBundle(resp.Bundle)
	if err != nil {
		return fmt.Errorf("join: read the CA bundle: %w", err)
	}
	return p.finish(leaf, bundle, resp.GossipKeys, membership{ClusterID: clusterID, ClusterName: resp.ClusterName, NodeName: c.NodeName, Seeds: resp.Seeds})
}

func readTokenFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the join token: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read the join token: %w", err)
	}
	return string(b), nil
}

// askToJoin tries the voters of the token until one lets the node in, and follows
// them to the leader.
func askToJoin(ctx context.Context, t authority.JoinToken, req joinRequest) (joinResponse, error) {
	last := errors.New("no address in the token")
	for {
		for _, addr := range t.Addresses {
			for hops := 0; addr != "" && hops < 3; hops++ {
				resp, err := joinOnce(ctx, t, addr, req)
				switch {
				case err != nil:
					last, addr = err, ""
				case resp.Leader != "":
					addr = resp.Leader
				case resp.Error != "":
					return resp, fmt.Errorf("%s refuses: %s", addr, resp.Error)
				default:
					return resp, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return joinResponse{}, fmt.Errorf("no node let this one in: %w", last)
		case <-time.After(300 * time.Millisecond): // an election may be under way
		}
	}
}

func joinOnce(ctx context.Context, t authority.JoinToken, addr string, req joinRequest) (resp joinResponse, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return resp, fmt.Errorf("encode the request: %w", err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return tlsmux.DialJoin(ctx, addr, func(chain []*x509.Certificate) error { return pinned(chain, t) })
	}
	h := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cluster"+joinPath, bytes.NewReader(body))
	if err != nil {
		return resp, err
	}
	answer, err := h.Do(r)
	if err != nil {
		return resp, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxJoinBytes)).Decode(&resp); err != nil {
		return resp, fmt.Errorf("%s answers %s: %w", addr, answer.Status, err)
	}
	return resp, nil
}

// pinned checks that a CA instance of the token issued the certificate shown.
func pinned(chain []*x509.Certificate, t authority.JoinToken) error {
	for _, ca := range chain {
		sum := sha256.Sum256(ca.Raw)
		if !slices.Contains(t.Pins, hex.EncodeToString(sum[:])) {
			continue
		}
		bundle, err := identity.NewBundle(ca)
		if err != nil {
			return err
		}
		_, err = bundle.VerifyNode(chain, t.Cluster, time.Now())
		return err
	}
	return errors.New("whoever answers shows no CA instance that the token pins: this is not the cluster the token is for, or the token is old")
}

// doorman answers the join protocol.
type doorman struct {
	service *authority.Service
	node    *cluster.Node
	place   *place
	ring    *gossipRing
	issuer  *issuer
	log     *slog.Logger
}

func (d *doorman) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req joinRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoinBytes))
	dec.DisallowUnknownFields()
	resp := joinResponse{}
	if err := dec.Decode(&req); err != nil || r.URL.Path != joinPath || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		resp.Error = "this is no join request"
	} else {
		resp = d.letIn(r.Context(), req, r.RemoteAddr)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(resp); err != nil {
		d.log.Debug("answer a joiner", "err", err)
	}
}

func (d *doorman) letIn(ctx context.Context, req joinRequest, remote string) joinResponse {
	sum := sha256.Sum256(req.SPKI)
	public, err := x509.ParsePKIXPublicKey(req.SPKI)
	if err != nil || hex.EncodeToString(sum[:]) != string(req.Node.ID) {
		return joinResponse{Error: "the identity key is not the node's"}
	}
	if _, err := d.service.Join(ctx, req.TokenID, req.Node, req.Proof, remote); err != nil {
		if errors.Is(err, ledger.ErrNotLeader) {
			if addr, ok := d.node.AddressOf(d.node.Leadership().Leader); ok {
				return joinResponse{Leader: addr}
			}
			return joinResponse{Error: "no leader is known: try again in a few seconds"}
		}
		d.log.Warn("a node was not let in", "node", req.Node.Name, "err", err)
		return joinResponse{Error: err.Error()}
	}
	leaf, bundle, err := d.issuer.issue(public, req.Node.Addrs, nil)
	if err != nil {
		return joinResponse{Error: err.Error()}
	}
	d.log.Info("a node joined", "node", req.Node.Name)
	return joinResponse{ClusterName: d.place.member.ClusterName, Leaf: leaf.Raw, Bundle: bundle.PEM(), Seeds: d.node.Members(), GossipKeys: d.ring.shared(d.service.View().Cluster().GossipKey)}
}
