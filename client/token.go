package client

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// token is the bearer token, read again when its file changes: a login in another
// terminal, or a rotated secret, needs no restart.
type token struct {
	file string

	mu   sync.Mutex // guards the rest
	text string
	at   time.Time // modification time of the file as read
}

// maxTokenFile bounds the file in bytes; a token has less than 100.
const maxTokenFile = 4096

func (t *token) read() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == "" {
		return t.text, nil
	}
	info, err := os.Stat(t.file)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	if info.ModTime().Equal(t.at) && t.text != "" {
		return t.text, nil
	}
	if info.Size() > maxTokenFile {
		return "", fmt.Errorf("read the token: %s has %d bytes and is no token file", t.file, info.Size())
	}
	b, err := os.ReadFile(t.file)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" || strings.ContainsAny(s, " \t\r\n\x00") {
		return "", fmt.Errorf("read the token: %s does not hold one line with a token", t.file)
	}
	t.text, t.at = s, info.ModTime()
	return s, nil
}
