//go:build !cgo || nopkcs11

package dev

import "errors"

var errNoDriver = errors.New("driver pkcs11 is not in this build: build with cgo, or use --keystore soft")

func (c *Cluster) prepareKeyStores() error {
	if c.KeyStore == "pkcs11" {
		return errNoDriver
	}
	return nil
}

func (o *Options) initToken(int, string, string) error { return errNoDriver }
