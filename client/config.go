package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// Config says which cluster to speak to and as whom.
type Config struct {
	// Addrs are the nodes' API listeners, host:port or https://host:port, in the
	// order they are tried. http:// is accepted for loopback addresses only.
	Addrs []string
	// Public are the nodes' public listeners, where status answers and trust sets come
	// from: host:port, or http:// of any host, because what comes from there is
	// verified by its signature. Empty = the members are asked for theirs.
	Public []string
	// Cluster is the id of the cluster; a statement of another one is refused. "" =
	// the one that the CA bundle is for.
	Cluster string
	// Skew is how far the clocks here and on the nodes may be apart when the dates of a
	// statement are judged. 0 = a minute.
	Skew time.Duration
	// CA or CAFile is the cluster's CA bundle. The system's roots are never used:
	// whoever can get a certificate from one of them must not get our token.
	CA     *x509.CertPool
	CAFile string
	// Certificate, or CertFile and KeyFile, identify the caller by TLS.
	Certificate       *tls.Certificate
	CertFile, KeyFile string
	// Token, or TokenFile, identify the caller by a bearer token. The file is
	// read again when it changes.
	Token, TokenFile string
	// Timeout bounds one call with all its attempts, unless its context ends
	// sooner. 0 = 30 s. Time that the caller asks to wait comes on top.
	Timeout time.Duration
	// AttemptTimeout bounds one attempt, so that a node that hangs does not use
	// up the whole Timeout. 0 = 10 s.
	AttemptTimeout time.Duration
	// SignDeadline is D of the protocol: a signature that arrives later after the
	// request was sent is discarded. 0 = 2 s. Never set it above the cluster's D,
	// or `settled` no longer covers this client.
	SignDeadline time.Duration
	// Dial connects to a node, for callers that reach the cluster through something
	// of their own. TLS goes on top of it. nil = a plain connection.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger gets failed attempts at debug level. nil = none.
	Logger *slog.Logger
}

const (
	defaultTimeout = 30 * time.Second
	defaultAttempt = 10 * time.Second
	defaultSign    = 2 * time.Second
	dialTimeout    = 3 * time.Second
	maxConnsIdle   = 64
)

// Client speaks to one cluster.
type Client struct {
	cfg   Config
	http  *http.Client
	token *token
	log   *slog.Logger
	roots *x509.CertPool // the cluster's CA bundle, nil = none is known

	mu     sync.Mutex
	nodes  []string // base URLs; the first is tried first
	leader string   // base URL that a redirect named, "" = unknown
	public []string // base URLs of public listeners; the first is tried first
	anchor anchor
}

// New makes a client. It reads the files that cfg names and connects to nobody.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.AttemptTimeout <= 0 {
		cfg.AttemptTimeout = defaultAttempt
	}
	if cfg.SignDeadline <= 0 {
		cfg.SignDeadline = defaultSign
	}
	if cfg.Dial == nil {
		cfg.Dial = dialer.DialContext
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Addrs) == 0 {
		return nil, fmt.Errorf("no address of the cluster: give at least one host:port of an api listener")
	}
	c := &Client{cfg: cfg, log: log, token: &token{text: cfg.Token, file: cfg.TokenFile}}
	secure := false
	for _, a := range cfg.Addrs {
		base, err := baseURL(a)
		if err != nil {
			return nil, err
		}
		secure = secure || strings.HasPrefix(base, "https:")
		c.nodes = append(c.nodes, base)
	}
	for _, a := range cfg.Public {
		base, err := publicURL(a)
		if err != nil {
			return nil, err
		}
		c.public = append(c.public, base)
	}
	tlsConfig, err := cfg.tls(secure)
	if err != nil {
		return nil, err
	}
	c.roots = tlsConfig.RootCAs
	if cfg.TokenFile != "" {
		if _, err := c.token.read(); err != nil {
			return nil, err
		}
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:               nil, // a proxy would see the token
			DialContext:         cfg.Dial,
			DialTLSContext:      cfg.dialTLS(tlsConfig),
			TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1: one slow answer holds up no other
			MaxIdleConnsPerHost: maxConnsIdle,
			IdleConnTimeout:     wire.IdleTimeout - 5*time.Second, // before the server hangs up
			DisableCompression:  true,

			MaxResponseHeaderBytes: 4 * wire.MaxHeaderBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close drops idle connections. Calls that are under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Addrs are the base URLs the client knows, the preferred one first.
func (c *Client) Addrs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.nodes...)
}

func baseURL(addr string) (string, error) {
	if !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("address %q: write it like node1.example.com:7600", addr)
	}
	if u.Port() == "" {
		return "", fmt.Errorf("address %q has no port: api listeners have 7600 by default", addr)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return "", fmt.Errorf("address %q: credentials go over https only; http is for loopback", addr)
		}
	default:
		return "", fmt.Errorf("address %q: the scheme is https", addr)
	}
	return u.Scheme + "://" + u.Host, nil
}

func (cfg *Config) tls(needed bool) (*tls.Config, error) {
	pool := cfg.CA
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the cluster's CA: %w", err)
		}
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the cluster's CA: %s holds no PEM certificate", cfg.CAFile)
		}
	}
	if pool == nil && needed {
		return nil, fmt.Errorf("no CA of the cluster: name its bundle, the ca.pem that `chancery init` or `dev` wrote")
	}
	t := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		RootCAs:    pool,
		// Not a hole: dialTLS sets verifyServer in place of Go's check, because a node is known by
		// the URI in its certificate and may have moved to another address.
		InsecureSkipVerify: true,
	}
	switch {
	case cfg.Certificate != nil:
		t.Certificates = []tls.Certificate{*cfg.Certificate}
	case cfg.CertFile != "" || cfg.KeyFile != "":
		if cfg.CertFile == "" || cfg.KeyFile == "" {
			return nil, errors.New("a client certificate needs its file and that of its private key: --cert and --cert-key")
		}
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

var dialer = &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}

// dialTLS connects and checks the server. net/http's own way would not tell the
// check which host was dialled when that is an IP address.
func (cfg *Config) dialTLS(base *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		raw, err := cfg.Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		cfg := base.Clone()
		cfg.ServerName = host
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return verifyServer(cs, base.RootCAs, host) }
		conn := tls.Client(raw, cfg)
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return conn, nil
	}
}

// verifyServer accepts a certificate by the cluster's CA that is made for servers
// and either names a node (chancery://<cluster>/node/<id>) or the host dialled.
func verifyServer(cs tls.ConnectionState, pool *x509.CertPool, host string) error {
	if pool == nil {
		return fmt.Errorf("no CA of the cluster is known")
	}
	leaf := cs.PeerCertificates[0] // a TLS 1.3 server always shows one
	between := x509.NewCertPool()
	for _, cert := range cs.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return fmt.Errorf("the server's certificate is not by the cluster's CA: %w", err)
	}
	if len(leaf.URIs) == 1 && leaf.URIs[0].Scheme == "chancery" && strings.HasPrefix(leaf.URIs[0].Path, "/node/") {
		return nil
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("the server is no node of a Chancery cluster: %w", err)
	}
	return nil
}
