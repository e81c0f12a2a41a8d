package sshsig

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sshKeygen finds OpenSSH, the independent implementation these tests compare
// with.
func sshKeygen(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err == nil {
		return path
	}
	if os.Getenv("CHANCERY_TEST_NO_SSH") == "1" {
		t.Skip("CHANCERY_TEST_NO_SSH=1")
	}
	t.Fatal("ssh-keygen is missing: install openssh-client (scripts/deps does), or set CHANCERY_TEST_NO_SSH=1")
	return ""
}

// TestOpenSSHSignsForUs: keys and signatures that the installed ssh-keygen makes
// now.
func TestOpenSSHSignsForUs(t *testing.T) {
	keygen := sshKeygen(t)
	message := []byte("challenge\n")
	for _, args := range [][]string{{"-t", "ed25519"}, {"-t", "ecdsa", "-b", "256"}} {
		for _, hash := range []string{"sha256", "sha512"} {
			file := filepath.Join(t.TempDir(), "key")
			make := exec.Command(keygen, append(args, "-q", "-N", "", "-C", "a comment", "-f", file)...)
			if out, err := make.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			public, err := os.ReadFile(file + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			key, err := ParseAuthorizedKey(string(public))
			if err != nil {
				t.Fatal(err)
			}
			sign := exec.Command(keygen, "-q", "-Y", "sign", "-n", namespace, "-O", "hashalg="+hash, "-f", file)
			sign.Stdin = bytes.NewReader(message)
			armored, err := sign.Output()
			if err != nil {
				t.Fatal(err)
			}
			if err := Verify(key, namespace, message, armored); err != nil {
				t.Errorf("%v %s: %v", args, hash, err)
			}
			print, err := exec.Command(keygen, "-l", "-f", file+".pub").Output()
			if err != nil || !bytes.Contains(print, []byte(key.Fingerprint()+" ")) {
				t.Errorf("fingerprint %s, ssh-keygen says %s (%v)", key.Fingerprint(), print, err)
			}
		}
	}
}

// TestOpenSSHAgreesAboutOurs: what our software authenticator signs, ssh-keygen
// accepts and refuses as we do. So the sk- vectors are not only right by our own
// reading of the format. Left out is a signature without a touch: ssh-keygen 9.2
// -Y verify does not look at that flag, and we must.
func TestOpenSSHAgreesAboutOurs(t *testing.T) {
	keygen := sshKeygen(t)
	message := []byte("challenge\n")
	for name, bend := range map[string]func(*signer){
		"good":     func(*signer) {},
		"verified": func(s *signer) { s.flags |= flagVerified },
		"sha1":     func(s *signer) { s.hash = "sha1" },
		"version":  func(s *signer) { s.version = 9 },
	} {
		for _, kind := range allTypes {
			s := newSigner(t, kind)
			bend(s)
			armored := armor(s.sign(t, namespace, message))
			ours := Verify(s.key(t), namespace, message, armored)

			dir := t.TempDir()
			signers, sig := filepath.Join(dir, "signers"), filepath.Join(dir, "sig")
			for file, content := range map[string][]byte{signers: []byte("x " + s.key(t).String() + "\n"), sig: armored} {
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			verify := exec.Command(keygen, "-Y", "verify", "-f", signers, "-I", "x", "-n", namespace, "-s", sig)
			verify.Stdin = bytes.NewReader(message)
			out, theirs := verify.CombinedOutput()
			if (ours == nil) != (theirs == nil) {
				t.Errorf("%s, %s: we say %v, ssh-keygen says %v: %s", name, kind, ours, theirs, out)
			}
		}
	}
}
