package webhook

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Check validates what the log does not look at: what the URL, the CA and the kinds mean.
func Check(w lifecycle.Webhook) error {
	if _, err := parse(w.URL); err != nil {
		return fmt.Errorf("webhook %s: %w", w.Name, err)
	}
	if _, err := roots(w.CA); err != nil {
		return fmt.Errorf("webhook %s: %w", w.Name, err)
	}
	for _, k := range w.Kinds {
		if k == lifecycle.EveryKind {
			continue
		}
		if err := state.CheckEventKind(k); err != nil {
			return fmt.Errorf("webhook %s: %w", w.Name, err)
		}
	}
	return nil
}

func parse(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its url cannot be read")
	case u.Hostname() == "":
		return nil, fmt.Errorf("its url names no host")
	case u.User != nil:
		return nil, fmt.Errorf("its url holds a password, which everybody could read in the settings: the receiver knows the sender by the signature")
	case u.Fragment != "":
		return nil, fmt.Errorf("its url has a fragment, which is never sent")
	case u.Scheme != "https" && !(u.Scheme == "http" && here(u.Hostname())):
		return nil, fmt.Errorf("its url must be https: http is for receivers on the node itself, 127.0.0.1 or localhost")
	}
	return u, nil
}

// here reports whether a host is the machine itself.
func here(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// roots reads the CA, nil = the system's.
func roots(text string) (*x509.CertPool, error) {
	if text == "" {
		return nil, nil
	}
	pool, rest := x509.NewCertPool(), []byte(text)
	for found := false; ; found = true {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if !found || len(strings.TrimSpace(string(rest))) > 0 {
				return nil, fmt.Errorf("its ca is not made of PEM certificates")
			}
			return pool, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("its ca holds something that is no certificate")
		}
		pool.AddCert(c)
	}
}
