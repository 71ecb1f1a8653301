package gitops

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"text/template"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
)

// DefaultMessage is the template of a commit's message.
const DefaultMessage = `Deliver {{.Name}} {{.Version}}{{if ne .Path "."}} to {{.Path}}{{end}}

{{range .Changes}}{{.File}}:{{.Line}}: {{with .From}}{{.}}{{else}}(not set){{end}} -> {{.To}}
{{end}}`

// Trailers of a bump's commit. Image tells a delivery from other commits, so that a loop can end and a rollback can be
// told from the next delivery.
const (
	trailerImage    = "Image"
	trailerSource   = "Source-Revision"
	trailerRun      = "Pipeline-Run"
	trailerSignOff  = "Signed-off-by"
	revertsSentence = "This reverts commit "
)

// who returns the author, from the options or the environment as git has it.
func (a Author) orDefault() Author {
	if a.Name == "" {
		a.Name = os.Getenv("GIT_AUTHOR_NAME")
	}
	if a.Email == "" {
		a.Email = os.Getenv("GIT_AUTHOR_EMAIL")
	}
	if a.Name == "" {
		a.Name = "aksflow"
	}
	if a.Email == "" {
		a.Email = "aksflow@users.noreply.github.com"
	}
	return a
}

// data is what the templates of a bump can use.
func (o BumpOptions) data(changes []manifest.Change) MessageData {
	image := ref.Read(o.Target.Image)
	version := image.Tag
	if _, hex, found := strings.Cut(image.Digest, ":"); version == "" && found {
		version = hex[:12]
	}
	return MessageData{
		Name: image.Name(), Image: o.Target.Image, Tag: image.Tag, Digest: image.Digest, Version: version,
		Path: pathOrRoot(o.Path), Branch: o.Branch, Changes: changes, SourceRevision: o.SourceRevision, PipelineRun: o.PipelineRun,
	}
}

func pathOrRoot(path string) string {
	if path = strings.Trim(path, "/"); path == "" {
		return "."
	}
	return path
}

// fill executes a template of the caller's.
func fill(name, text string, data MessageData) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fault.Usagef("the %s template is not valid: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return "", fault.Usagef("the %s template cannot be filled: %w", name, err)
	}
	return strings.TrimSpace(b.String()), nil
}

// message puts a commit's message together: subject, body, trailers.
func (o BumpOptions) message(text string, changes []manifest.Change) (string, error) {
	if text == "" {
		text = DefaultMessage
	}
	body, err := fill("message", text, o.data(changes))
	if err != nil {
		return "", err
	}
	if body == "" {
		return "", fault.Usagef("the message template gives an empty message")
	}
	if o.SkipCI {
		subject, rest, _ := strings.Cut(body, "\n")
		body = strings.TrimRight(subject+" [skip ci]\n"+rest, "\n")
	}
	author := o.Author.orDefault()
	trailers := []string{trailerImage + ": " + o.Target.Image}
	if o.SourceRevision != "" {
		trailers = append(trailers, trailerSource+": "+o.SourceRevision)
	}
	if o.PipelineRun != "" {
		trailers = append(trailers, trailerRun+": "+o.PipelineRun)
	}
	if o.SignOff {
		trailers = append(trailers, fmt.Sprintf("%s: %s <%s>", trailerSignOff, author.Name, author.Email))
	}
	return body + "\n\n" + strings.Join(trailers, "\n") + "\n", nil
}

// isDelivery tells a bump's commit from one that people made, and from a rollback.
func isDelivery(message string) bool {
	if strings.Contains(message, revertsSentence) {
		return false
	}
	for line := range strings.Lines(message) {
		if strings.HasPrefix(line, trailerImage+": ") {
			return true
		}
	}
	return false
}

// writeCommit stores a commit with new file contents on top of parent, and returns it with the hashes of all objects
// that were made.
func (c *clone) writeCommit(parent *object.Commit, files []manifest.File, message string, by Author, signer git.Signer) (plumbing.Hash, []plumbing.Hash, error) {
	tree, made, err := writeTree(c.store, parent.TreeHash, files)
	if err != nil {
		return plumbing.ZeroHash, nil, fmt.Errorf("cannot write the commit: %w", err)
	}
	by = by.orDefault()
	signature := object.Signature{Name: by.Name, Email: by.Email, When: time.Now()}
	commit := &object.Commit{
		Author: signature, Committer: signature, Message: message, TreeHash: tree, ParentHashes: []plumbing.Hash{parent.Hash},
	}
	if signer != nil {
		unsigned := &plumbing.MemoryObject{}
		if err := commit.EncodeWithoutSignature(unsigned); err != nil {
			return plumbing.ZeroHash, nil, fmt.Errorf("cannot write the commit: %w", err)
		}
		r, err := unsigned.Reader()
		if err != nil {
			return plumbing.ZeroHash, nil, fmt.Errorf("cannot write the commit: %w", err)
		}
		signed, err := signer.Sign(r)
		if err != nil {
			return plumbing.ZeroHash, nil, fmt.Errorf("cannot sign the commit: %w", err)
		}
		commit.PGPSignature = string(signed)
	}
	hash, err := storeObject(c.store, commit)
	if err != nil {
		return plumbing.ZeroHash, nil, fmt.Errorf("cannot write the commit: %w", err)
	}
	return hash, append(made, hash), nil
}

// NewSigner returns a signer for an OpenPGP private key (armored) or an SSH private key (OpenSSH or PEM form), told
// apart by their headers.
func NewSigner(key, passphrase []byte) (git.Signer, error) {
	if bytes.Contains(key, []byte("BEGIN PGP PRIVATE KEY BLOCK")) {
		entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(key))
		if err != nil || len(entities) == 0 {
			return nil, fault.Usagef("the OpenPGP signing key cannot be read: want an armored private key: %w", err)
		}
		if err := entities[0].DecryptPrivateKeys(passphrase); err != nil {
			return nil, fault.Usagef("the OpenPGP signing key cannot be decrypted: is its passphrase right? %w", err)
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

// Sign implements git.Signer.
func (s pgpSigner) Sign(message io.Reader) ([]byte, error) {
	var b bytes.Buffer
	err := openpgp.ArmoredDetachSign(&b, s.entity, message, nil)
	b.WriteByte('\n')
	return b.Bytes(), err
}

type sshSigner struct{ key ssh.Signer }

// Sign implements git.Signer with the signature that ssh-keygen -Y sign -n git makes.
func (s sshSigner) Sign(message io.Reader) ([]byte, error) {
	signature, err := sshsig.Sign(message, s.key, sshsig.HashSHA512, "git")
	if err != nil {
		return nil, err
	}
	return sshsig.Armor(signature), nil
}
