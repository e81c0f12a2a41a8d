//go:build cgo && !nopkcs11 && !clientonly && !windows

package main

import _ "github.com/chancery-project/chancery/authority/hsm/pkcs11" // registers the driver
