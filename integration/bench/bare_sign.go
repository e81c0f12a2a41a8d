//go:build linux && cgo

package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"
)

const (
	softHSM    = "/usr/lib/softhsm/libsofthsm2.so"
	tokenLabel = "yardstick"
	tokenPIN   = "4711-user"
)

// insecure reaches a yardstick, whose certificate nobody has signed.
var insecure = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}

func initToken() error {
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", tokenLabel, "--so-pin", tokenPIN, "--pin", tokenPIN, "--module", softHSM).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make a token: %w: %s", err, out)
	}
	return nil
}

// bareSign is the least that signs over HTTPS: net/http, encoding/json, crypto11.
func bareSign([]string) error {
	if err := initToken(); err != nil {
		return err
	}
	token, err := crypto11.Configure(&crypto11.Config{Path: softHSM, TokenLabel: tokenLabel, Pin: tokenPIN})
	if err != nil {
		return fmt.Errorf("open the token: %w", err)
	}
	signer, err := token.GenerateECDSAKeyPair([]byte{1}, elliptic.P256())
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Digest []byte `json:"digest"`
			Hash   string `json:"hash"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sig, err := signer.Sign(rand.Reader, in.Digest, crypto.SHA256)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string][]byte{"signature": sig}) // the caller has gone
	})
	return serveBare(mux, true)
}

// serveBare serves until standard input closes.
func serveBare(h http.Handler, withTLS bool) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	if withTLS {
		cert, err := selfSigned()
		if err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, os.Stdin); ended <- err }()
	select {
	case err := <-failed:
		return err
	case err := <-ended:
		return err
	}
}

// selfSigned makes a certificate of the kind that nodes have.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// rawSign answers each "sessions milliseconds" with the CPU time of one C_SignInit
// and C_Sign, in microseconds, made one after the other in that many sessions beside
// each other.
func rawSign([]string) error {
	if err := initToken(); err != nil {
		return err
	}
	sign, err := openRaw()
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var sessions, ms int
		if _, err := fmt.Sscan(lines.Text(), &sessions, &ms); err != nil {
			return err
		}
		var wg sync.WaitGroup
		var count atomic.Int64
		var failed atomic.Pointer[error]
		before, start := selfCPU(), time.Now()
		for i := range sessions {
			wg.Go(func() {
				for time.Since(start) < time.Duration(ms)*time.Millisecond {
					if err := sign(i); err != nil {
						failed.CompareAndSwap(nil, &err)
						return
					}
					count.Add(1)
				}
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		fmt.Println(float64((selfCPU() - before).Nanoseconds()) / 1000 / float64(count.Load()))
	}
	return nil
}

// rawSessions is the most that rawSign can be asked for.
const rawSessions = 4

func openRaw() (sign func(session int) error, err error) {
	p := pkcs11.New(softHSM)
	if p == nil {
		return nil, errors.New("load SoftHSM")
	}
	if err := p.Initialize(); err != nil {
		return nil, err
	}
	slots, err := p.GetSlotList(true)
	if err != nil || len(slots) == 0 {
		return nil, fmt.Errorf("%d slots: %w", len(slots), err)
	}
	var sessions [rawSessions]pkcs11.SessionHandle
	for i := range sessions {
		if sessions[i], err = p.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION); err != nil {
			return nil, err
		}
	}
	session := sessions[0]
	if err := p.Login(session, pkcs11.CKU_USER, tokenPIN); err != nil {
		return nil, err
	}
	curve := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07} // OID prime256v1
	_, private, err := p.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curve), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true)})
	if err != nil {
		return nil, err
	}
	mechanism, digest := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, sha256.Sum256([]byte("bench"))
	return func(i int) error {
		if err := p.SignInit(sessions[i], mechanism, private); err != nil {
			return err
		}
		_, err := p.Sign(sessions[i], digest[:])
		return err
	}, nil
}

// selfCPU is the CPU time of this process.
func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it fails only for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
