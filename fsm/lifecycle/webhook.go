package lifecycle

import (
	"fmt"
	"strings"
)

// Limits of webhooks, each with its reason.
const (
	MaxWebhooks     = 8       // each has a connection of the leader's; more is a message bus, which can be fed by one
	maxWebhookURL   = 1024    // bytes; receivers put a secret into it at most
	maxWebhookKinds = 64      // more is everything
	maxWebhookCA    = 8 << 10 // bytes of PEM: an issuer and a root
)

// EveryKind, among the kinds of a webhook, stands for all of them.
const EveryKind = "*"

// Webhook is a place that is told of events, by whoever leads.
type Webhook struct {
	Name  string   `cbor:"1,keyasint" json:"name"`
	URL   string   `cbor:"2,keyasint" json:"url"`                    // https, or http to this machine
	Kinds []string `cbor:"3,keyasint" json:"kinds"`                  // "key.revoked", "key" = all of key, EveryKind
	CA    string   `cbor:"4,keyasint,omitempty" json:"ca,omitempty"` // PEM of what the receiver's certificate must chain to; empty = the node's system roots
}

// Delivery is how far a webhook has come along the log. It exists while the settings
// have a webhook of its name.
type Delivery struct {
	Rev          uint64  `cbor:"1,keyasint"`
	Webhook      string  `cbor:"2,keyasint"`
	After        uint64  `cbor:"3,keyasint"`           // events up to this entry have arrived, or were not asked for
	At           Instant `cbor:"4,keyasint,omitempty"` // After moved last; 0 = never
	FailingSince Instant `cbor:"5,keyasint,omitempty"` // 0 = it works, or has had nothing to do
	Why          string  `cbor:"6,keyasint,omitempty"` // it fails
}

// Wants reports whether the webhook is told of events of the kind.
func (w *Webhook) Wants(kind string) bool {
	for _, k := range w.Kinds {
		if k == EveryKind || k == kind || strings.HasPrefix(kind, k) && kind[len(k)] == '.' {
			return true
		}
	}
	return false
}

// Webhook finds a webhook by name, nil when there is none.
func (s *Settings) Webhook(name string) *Webhook {
	for i := range s.Webhooks {
		if s.Webhooks[i].Name == name {
			return &s.Webhooks[i]
		}
	}
	return nil
}

// CheckWebhooks validates the form of the webhooks. What a URL means is for those to
// check who can read one.
func (s Settings) CheckWebhooks() error {
	if len(s.Webhooks) > MaxWebhooks {
		return fmt.Errorf("%d webhooks: at most %d are allowed", len(s.Webhooks), MaxWebhooks)
	}
	for i := range s.Webhooks {
		w := &s.Webhooks[i]
		if err := w.check(); err != nil {
			return err
		}
		if s.Webhook(w.Name) != w {
			return fmt.Errorf("two webhooks have the name %s", w.Name)
		}
	}
	return nil
}

func (w *Webhook) check() error {
	if err := CheckName("webhook", w.Name); err != nil {
		return err
	}
	if len(w.URL) > maxWebhookURL || !Printable(w.URL) || strings.Contains(w.URL, " ") ||
		!strings.HasPrefix(w.URL, "https://") && !strings.HasPrefix(w.URL, "http://") {
		return fmt.Errorf("webhook %s: its url must begin with https:// and have %d bytes at most", w.Name, maxWebhookURL)
	}
	if len(w.Kinds) == 0 || len(w.Kinds) > maxWebhookKinds {
		return fmt.Errorf("webhook %s names %d kinds of events: 1 to %d are needed, %q is all of them", w.Name, len(w.Kinds), maxWebhookKinds, EveryKind)
	}
	for i, k := range w.Kinds {
		if k != EveryKind && !eventKind(k) {
			return fmt.Errorf("webhook %s: %q is no kind of event: write it like key.revoked, or key for all of these", w.Name, short(k))
		}
		if contains(w.Kinds[:i], k) {
			return fmt.Errorf("webhook %s names %s twice", w.Name, k)
		}
	}
	if len(w.CA) > maxWebhookCA {
		return fmt.Errorf("webhook %s: its ca has %d bytes, at most %d are allowed", w.Name, len(w.CA), maxWebhookCA)
	}
	return nil
}

// eventKind reports whether s has the form of a kind of event, or of what kinds begin
// with: words of lower-case letters and _, with a dot between them.
func eventKind(s string) bool {
	if len(s) > 64 {
		return false
	}
	word := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c == '_':
			word++
		case c == '.' && word > 0:
			word = 0
		default:
			return false
		}
	}
	return word > 0
}
