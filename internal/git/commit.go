package git

import (
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Author is the author and committer of a commit.
type Author struct{ Name, Email string }

// NewCommit is a commit to be made on top of another.
type NewCommit struct {
	Files   map[string][]byte // new contents of existing files, by path
	Message string
	Author  Author
	Signer  Signer // nil leaves the commit unsigned
}

// MadeCommit is a commit that the clone has and the server may not.
type MadeCommit struct {
	Hash, Tree plumbing.Hash
	objects    []plumbing.Hash // all that a server with the parent lacks
}

// Make stores a commit on top of parent. Push sends it.
func (c *Clone) Make(parent *object.Commit, n NewCommit) (MadeCommit, error) {
	fail := func(err error) (MadeCommit, error) {
		return MadeCommit{}, fmt.Errorf("cannot write the commit: %w", err)
	}
	tree, objects, err := writeTree(c.store, parent.TreeHash, n.Files)
	if err != nil {
		return fail(err)
	}
	signature := object.Signature{Name: n.Author.Name, Email: n.Author.Email, When: time.Now()}
	commit := &object.Commit{
		Author: signature, Committer: signature, Message: n.Message, TreeHash: tree, ParentHashes: []plumbing.Hash{parent.Hash},
	}
	if n.Signer != nil {
		unsigned := &plumbing.MemoryObject{}
		if err := commit.EncodeWithoutSignature(unsigned); err != nil {
			return fail(err)
		}
		r, err := unsigned.Reader()
		if err != nil {
			return fail(err)
		}
		signed, err := n.Signer.Sign(r)
		if err != nil {
			return MadeCommit{}, fmt.Errorf("cannot sign the commit: %w", err)
		}
		commit.PGPSignature = string(signed)
	}
	hash, err := storeObject(c.store, commit)
	if err != nil {
		return fail(err)
	}
	return MadeCommit{Hash: hash, Tree: tree, objects: append(objects, hash)}, nil
}
