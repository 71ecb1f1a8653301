package git

import (
	"bytes"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Signer signs a commit.
type Signer interface {
	Sign(message io.Reader) ([]byte, error)
}

// NewSigner returns a signer for an armored OpenPGP private key or an SSH private key (OpenSSH or PEM). The header of
// the key says which it is.
func NewSigner(key, passphrase []byte) (Signer, error) {
	if bytes.Contains(key, []byte("BEGIN PGP PRIVATE KEY BLOCK")) {
		entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(key))
		if err != nil || len(entities) == 0 {
			return nil, fault.Usagef("the OpenPGP signing key cannot be read: want an armored private key: %w", err)
		}
		if err := entities[0].DecryptPrivateKeys(passphrase); err != nil {
			return nil, fault.Usagef("the OpenPGP signing key cannot be decrypted: check its passphrase: %w", err)
		}
		return pgpSigner{entities[0]}, nil
	}
	signer, err := ssh.ParsePrivateKey(key)
	if _, encrypted := err.(*ssh.PassphraseMissingError); encrypted {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(key, passphrase)
	}
	if err != nil {
		return nil, fault.Usagef("the signing key cannot be read: want an armored OpenPGP or an SSH private key, and its passphrase: %w", err)
	}
	return sshSigner{signer}, nil
}

type pgpSigner struct{ entity *openpgp.Entity }

// Sign implements Signer.
func (s pgpSigner) Sign(message io.Reader) ([]byte, error) {
	var b bytes.Buffer
	err := openpgp.ArmoredDetachSign(&b, s.entity, message, nil)
	b.WriteByte('\n')
	return b.Bytes(), err
}

type sshSigner struct{ key ssh.Signer }

// Sign implements Signer. The signature is that of `ssh-keygen -Y sign -n git`.
func (s sshSigner) Sign(message io.Reader) ([]byte, error) {
	signature, err := sshsig.Sign(message, s.key, sshsig.HashSHA512, "git")
	if err != nil {
		return nil, err
	}
	return sshsig.Armor(signature), nil
}
