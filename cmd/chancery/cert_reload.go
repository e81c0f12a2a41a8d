package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// debt is a file beside a certificate for as long as the server may not have loaded it.
// It is made before the certificate is replaced and goes when --exec has succeeded: a
// timer's next run knows by it that there is something to do before the next renewal.
type debt string

func debtOf(out string) debt { return debt(out + ".reload") }

func (d debt) owe() error {
	if err := os.WriteFile(string(d), []byte("--exec has not succeeded since this certificate was replaced\n"), 0o600); err != nil {
		return fmt.Errorf("note that --exec is to run: %w", err)
	}
	return nil
}

func (d debt) owed() bool {
	_, err := os.Stat(string(d))
	return err == nil
}

// settle has the server load the file, and forgets the debt when it has.
func (d debt) settle(ctx context.Context, load func(context.Context) error) error {
	if err := load(ctx); err != nil {
		return fmt.Errorf("%w: the next run with --exec tries it again (%s)", err, string(d))
	}
	if err := os.Remove(string(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget that --exec is to run: %w", err)
	}
	return nil
}
