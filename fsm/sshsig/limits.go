package sshsig

// Every bound of this package. They are part of what is accepted, hence frozen.
const (
	maxLineBytes        = 1024     // an authorized-key line; the longest accepted key takes 200, the rest is comment
	maxTypeBytes        = 64       // a key type's name
	maxApplicationBytes = 64       // "ssh:" and what a user adds with -O application=
	maxKeyBytes         = 256      // the longest accepted key has under 220
	maxNamespaceBytes   = 64       // ours are short words
	maxSignatureBytes   = 192      // the longest, sk-ecdsa, has under 120
	maxIntegerBytes     = 33       // 256 bits and the sign
	maxArmoredBytes     = 2048     // a whole signature in armor, under 800
	maxArmorLineBytes   = 76       // the format's own advice; ssh-keygen writes 70
	maxMessageBytes     = 64 << 10 // statements and challenges are a page at most
)
