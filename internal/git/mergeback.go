package git

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/diff"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Unmerged is a change of one branch that another one lacks.
type Unmerged struct {
	// Branch is the one that was merged, such as hotfix/1.2.1; "" when the commit does not name it.
	Branch  string `json:"branch,omitempty"`
	Commit  string `json:"commit"`
	Subject string `json:"subject"`
}

// Reminders say what to merge into a branch.
func Reminders(missing []Unmerged, branch string) []string {
	var out []string
	for _, m := range missing {
		out = append(out, fmt.Sprintf("%s is not merged back to %s (commit %.10s, %q): merge it there, or the next release lacks it",
			cmp.Or(m.Branch, "a commit"), branch, m.Commit, m.Subject))
	}
	return out
}

const (
	// mergeBackLimit is how many commits of a branch are looked at.
	mergeBackLimit = 100
	// clockSkew is how far the clocks of committers may differ.
	clockSkew = 24 * time.Hour
)

// NotMergedBack returns what was merged or committed to a git ref, or where the clone does not have that to what is checked
// out, and is missing on the branch into: the newest first. A change is there when its commit is, when a commit with the same change is, or when a commit names the
// branch that was merged. Nothing is known, and nothing returned, where the clone does not have the branch into.
func NotMergedBack(ctx context.Context, dir, gitRef, into string) ([]Unmerged, error) {
	repo, err := openWorkTree(dir)
	if repo == nil {
		return nil, err
	}
	tip, err := branchTip(repo, into)
	if tip == nil || err != nil {
		return nil, err
	}
	head := plumbing.Revision("HEAD")
	if _, err := repo.Reference(plumbing.ReferenceName(gitRef), true); err == nil {
		head = plumbing.Revision(gitRef)
	}
	from, err := repo.ResolveRevision(head)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s in %s: %w", head, dir, err)
	}
	shallow, err := repo.Storer.Shallow()
	if err != nil {
		return nil, err
	}
	at, err := repo.CommitObject(*from)
	if err != nil {
		return nil, err
	}
	m := &mergeBack{ctx: ctx, repo: repo, tip: tip, ancestors: newAncestors(tip)}
	var missing []Unmerged
	for range mergeBackLimit {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		there, err := m.has(at)
		if err != nil || there {
			return missing, err
		}
		if len(at.ParentHashes) == 0 || slices.Contains(shallow, at.Hash) {
			return missing, nil // where the history of this clone ends
		}
		if back, err := m.mergedBack(at); err != nil {
			return nil, err
		} else if !back {
			subject, _, _ := strings.Cut(at.Message, "\n")
			missing = append(missing, Unmerged{Branch: mergedBranch(at.Message), Commit: at.Hash.String(), Subject: subject})
		}
		if at, err = at.Parent(0); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// branchTip returns the newest commit of a branch as the remote has it, else as the clone does; nil for none.
func branchTip(repo *git.Repository, name string) (*object.Commit, error) {
	for _, ref := range []plumbing.ReferenceName{plumbing.NewRemoteReferenceName("origin", name), plumbing.NewBranchReferenceName(name)} {
		switch found, err := repo.Reference(ref, true); {
		case errors.Is(err, plumbing.ErrReferenceNotFound):
		case err != nil:
			return nil, err
		default:
			return repo.CommitObject(found.Hash())
		}
	}
	return nil, nil
}

type mergeBack struct {
	ctx       context.Context
	repo      *git.Repository
	tip       *object.Commit
	ancestors *ancestors
	changes   map[string]bool // of the branch's commits, as changeOf has them
	subjects  []string
}

// has reports whether the branch has the commit.
func (m *mergeBack) has(c *object.Commit) (bool, error) { return m.ancestors.has(c) }

// mergedBack reports whether the branch has the change that a commit made.
func (m *mergeBack) mergedBack(c *object.Commit) (bool, error) {
	merged := len(c.ParentHashes) > 1
	for i := 1; i < len(c.ParentHashes); i++ {
		parent, err := c.Parent(i)
		if err != nil {
			return false, err
		}
		there, err := m.has(parent)
		if err != nil {
			return false, err
		}
		merged = merged && there
	}
	if merged {
		return true, nil
	}
	if err := m.readBranch(); err != nil {
		return false, err
	}
	change, err := m.changeOf(c)
	if err != nil || m.changes[change] {
		return true, err
	}
	branch := mergedBranch(c.Message)
	return branch != "" && slices.ContainsFunc(m.subjects, func(s string) bool { return mergedBranch(s) == branch }), nil
}

// readBranch reads the newest commits of the branch once.
func (m *mergeBack) readBranch() error {
	if m.changes != nil {
		return nil
	}
	m.changes = map[string]bool{}
	at := m.tip
	for range mergeBackLimit {
		change, err := m.changeOf(at)
		if err != nil {
			return err
		}
		m.changes[change] = true
		m.subjects = append(m.subjects, at.Message)
		next, err := at.Parent(0)
		if errors.Is(err, object.ErrParentNotFound) || errors.Is(err, plumbing.ErrObjectNotFound) {
			return nil // the first commit, or the last one of a shallow clone
		}
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

// changeOf identifies the lines that a commit changed, wherever they stand: two commits that make the same change have the
// same, as with git patch-id.
func (m *mergeBack) changeOf(c *object.Commit) (string, error) {
	parent, err := c.Parent(0)
	if errors.Is(err, object.ErrParentNotFound) || errors.Is(err, plumbing.ErrObjectNotFound) {
		return c.Hash.String(), nil
	}
	if err != nil {
		return "", err
	}
	patch, err := parent.PatchContext(m.ctx, c)
	if err != nil {
		return "", fmt.Errorf("cannot read what commit %.10s changed: %w", c.Hash, err)
	}
	sum := sha256.New()
	for _, file := range patch.FilePatches() {
		from, to := file.Files()
		for _, f := range []diff.File{from, to} {
			if f != nil {
				fmt.Fprintln(sum, f.Path())
				if file.IsBinary() {
					fmt.Fprintln(sum, f.Hash())
				}
			}
		}
		for _, chunk := range file.Chunks() {
			if chunk.Type() != diff.Equal {
				fmt.Fprintln(sum, chunk.Type(), chunk.Content())
			}
		}
	}
	return string(sum.Sum(nil)), nil
}

// namesBranch matches the messages with which git, GitHub, GitLab and Azure Repos merge a branch: Merge branch 'hotfix/1.2.1',
// Merge pull request #7 from team/hotfix/1.2.1, Merged PR 7: hotfix/1.2.1.
var namesBranch = regexp.MustCompile(`\b((?:hotfix|release|bugfix|feature|support)/[^\s'"` + "`" + `:,;)]+)`)

func mergedBranch(message string) string {
	subject, _, _ := strings.Cut(message, "\n")
	return namesBranch.FindString(subject)
}

// ancestors answers whether a commit can be reached from another one. It reads the history as far as the answers need.
type ancestors struct {
	walk object.CommitIter
	seen map[plumbing.Hash]bool
	last time.Time // when the commit was made that was read last
	end  bool
}

func newAncestors(tip *object.Commit) *ancestors {
	return &ancestors{walk: object.NewCommitIterCTime(tip, nil, nil), seen: map[plumbing.Hash]bool{}, last: tip.Committer.When}
}

func (a *ancestors) has(c *object.Commit) (bool, error) {
	for !a.seen[c.Hash] && !a.end && !a.last.Before(c.Committer.When.Add(-clockSkew)) {
		next, err := a.walk.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, plumbing.ErrObjectNotFound): // the beginning, or that of a shallow clone
			a.end = true
		case err != nil:
			return false, err
		default:
			a.seen[next.Hash], a.last = true, next.Committer.When
		}
	}
	return a.seen[c.Hash], nil
}
