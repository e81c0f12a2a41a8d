package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/term"

	"github.com/chancery-project/chancery/transport/wire"
)

func loginCommand() *cli.Command {
	return looking("login", "", "trade a challenge signed with an SSH key for a token of a few hours", login,
		&cli.StringFlag{Name: "ssh-key", Usage: "private key file, or a .pub file whose private half is in the agent"},
		&cli.StringFlag{Name: "principal", Usage: "log in as", DefaultText: "whoever the key belongs to"},
		&cli.StringFlag{Name: "out", Usage: "file for the token, mode 0600", DefaultText: "the token file of the context"},
	)
}

func login(s *session) error {
	if s.String("ssh-key") == "" {
		return usagef("chancery login needs --ssh-key FILE")
	}
	out, keep, err := loginTarget(s)
	if err != nil {
		return err
	}
	if err := s.sparesKeys(out); err != nil {
		return err
	}
	signer, err := openSSHKey(s)
	if err != nil {
		return err
	}
	defer signer.close()
	// Logging in needs no credential, and an expired one would be refused.
	s.profile.Cert, s.profile.CertKey, s.profile.TokenFile = "", "", ""
	c, err := s.client()
	if err != nil {
		return err
	}
	who := wire.ChallengeRequest{Principal: s.String("principal")}
	if who.Principal == "" {
		who.Fingerprint = ssh.FingerprintSHA256(signer.PublicKey())
	}
	l, err := c.Login(s.ctx, who, signer.armoured)
	if err != nil {
		return err
	}
	if err := errors.Join(writePrivate(out, []byte(l.Token+"\n")), keep()); err != nil {
		return err
	}
	l.Token = "" // it is in the file, and nowhere else
	s.notef("logged in as %s until %s; the token is in %s", l.Principal, when(l.ExpiresAt), out)
	if s.format == formatJSON || s.format == formatYAML {
		return s.show(view{value: l})
	}
	return nil
}

// loginTarget is where the token goes: --out, the token file that flags or context
// name, or a file in the configuration directory that keep then notes in the
// context.
func loginTarget(s *session) (out string, keep func() error, err error) {
	nothing := func() error { return nil }
	if out := firstOf(s.String("out"), s.profile.TokenFile); out != "" {
		return out, nothing, nil
	}
	dir, err := configDir()
	if err != nil {
		return "", nil, err
	}
	all, err := loadProfiles()
	if err != nil {
		return "", nil, err
	}
	name := firstOf(s.String("context"), os.Getenv("CHANCERY_CONTEXT"), all.Current)
	p, known := all.Contexts[name]
	if !known {
		return "", nil, usagef("where shall the token go? Name --out FILE, or make a context first: chancery context add NAME --addr ... --ca ...")
	}
	p.Cert, p.CertKey, p.TokenFile = "", "", filepath.Join(dir, "token-"+name)
	all.Contexts[name] = p
	return p.TokenFile, all.save, nil
}

// sshKey signs with a key from a file or in the agent.
type sshKey struct {
	ssh.Signer
	conn net.Conn // of the agent
}

func (k *sshKey) close() {
	if k.conn != nil {
		k.conn.Close()
	}
}

func openSSHKey(s *session) (*sshKey, error) {
	file := s.String("ssh-key")
	b, err := s.read(file, maxSSHFile)
	if err != nil {
		return nil, err
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(b); err == nil {
		return agentKey(s.ctx, public)
	}
	signer, err := ssh.ParsePrivateKey(b)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if !s.interactive() {
			return nil, usagef("%s has a passphrase and nobody is there to type it: put it into the agent and give the .pub file", file)
		}
		fmt.Fprintf(s.err, "passphrase of %s: ", plain(file))
		pass, perr := term.ReadPassword(int(s.in.(*os.File).Fd())) // interactive() saw that it is one
		fmt.Fprintln(s.err)
		if perr != nil {
			return nil, fmt.Errorf("read the passphrase: %w", perr)
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(b, pass)
		clear(pass)
	}
	if err != nil {
		return nil, fmt.Errorf("read the SSH key %s: %w; a hardware key goes by its .pub file and the agent", file, err)
	}
	return &sshKey{Signer: signer}, nil
}

// agentKey is the first of the keys that the agent holds.
func agentKey(ctx context.Context, publics ...ssh.PublicKey) (*sshKey, error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, usagef("the key is in no file and SSH_AUTH_SOCK names no SSH agent that could hold it")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("reach the SSH agent: %w", err)
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask the SSH agent: %w", err), conn.Close())
	}
	var wanted []string
	for _, public := range publics {
		for _, s := range signers {
			if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
				return &sshKey{s, conn}, nil
			}
		}
		wanted = append(wanted, ssh.FingerprintSHA256(public))
	}
	conn.Close()
	return nil, usagef("the SSH agent does not hold %s: ssh-add it", strings.Join(wanted, " or "))
}

// armoured makes an SSH signature as `ssh-keygen -Y sign` does (OpenSSH's
// PROTOCOL.sshsig): over namespace, hash name and digest, not over the text itself.
func (k *sshKey) armoured(namespace string, text []byte) (string, error) {
	digest := sha512.Sum512(text)
	signed := struct {
		Magic                     [6]byte
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{sshsigMagic, namespace, "", "sha512", digest[:]}
	sig, err := k.Sign(rand.Reader, ssh.Marshal(signed))
	if err != nil {
		return "", err
	}
	blob := ssh.Marshal(struct {
		Magic                     [6]byte
		Version                   uint32
		PublicKey                 []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{sshsigMagic, 1, k.PublicKey().Marshal(), namespace, "", "sha512", sshSignature(sig)})
	return armour(blob), nil
}

var sshsigMagic = [6]byte{'S', 'S', 'H', 'S', 'I', 'G'}

func sshSignature(sig *ssh.Signature) []byte {
	b := ssh.Marshal(struct {
		Format string
		Blob   []byte
	}{sig.Format, sig.Blob})
	return append(b, sig.Rest...) // flags and counter of a hardware key
}

func armour(blob []byte) string {
	text := base64.StdEncoding.EncodeToString(blob)
	var b strings.Builder
	b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for len(text) > 0 {
		n := min(70, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString("-----END SSH SIGNATURE-----\n")
	return b.String()
}
