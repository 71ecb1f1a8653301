package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// historyDepth is how many commits of a branch are fetched. It is enough to find a rollback, and cheap, since commits
// differ in little.
const historyDepth = 50

// Fetch brings the newest commits of branches here and returns the tip of each. A branch that does not exist has the
// zero hash. The empty name means the default branch, whose name is returned.
func (c *Clone) Fetch(ctx context.Context, branches ...string) (tips []plumbing.Hash, defaultBranch string, err error) {
	session, err := c.transport.NewUploadPackSession(c.endpoint, c.auth)
	if err != nil {
		return nil, "", c.explain("read", err)
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, "", c.explain("read", err)
	}
	for _, symref := range advertised.Capabilities.Get(capability.SymRef) {
		if name, found := strings.CutPrefix(symref, "HEAD:refs/heads/"); found {
			defaultBranch = name
		}
	}
	request := packp.NewUploadPackRequestFromCapabilities(advertised.Capabilities)
	for _, branch := range branches {
		if branch = BranchName(branch); strings.HasPrefix(branch, "refs/") {
			return nil, "", fault.Usagef("%s is not a branch: name a branch of %s", branch, c.url)
		} else if branch == "" {
			branch = defaultBranch
		}
		tip := advertised.References["refs/heads/"+branch]
		tips = append(tips, tip)
		if !tip.IsZero() && c.store.HasEncodedObject(tip) != nil {
			request.Wants = append(request.Wants, tip)
		}
	}
	if len(request.Wants) == 0 {
		return tips, defaultBranch, nil
	}
	if err := c.setCapabilities(advertised, request); err != nil {
		return nil, "", err
	}
	response, err := session.UploadPack(ctx, request)
	if err != nil {
		return nil, "", c.explain("read", err)
	}
	defer func() { err = errors.Join(err, response.Close()) }()
	if err := packfile.UpdateObjectStorage(c.store, demultiplexed(request.Capabilities, response)); err != nil {
		return nil, "", c.explain("read", err)
	}
	if err := c.updateShallow(response); err != nil {
		return nil, "", err
	}
	c.tips = append(c.tips, request.Wants...)
	return tips, defaultBranch, nil
}

// setCapabilities asks for a shallow fetch, and names the commits that the clone has already.
func (c *Clone) setCapabilities(advertised *packp.AdvRefs, request *packp.UploadPackRequest) (err error) {
	if advertised.Capabilities.Supports(capability.Shallow) {
		request.Depth = packp.DepthCommits(historyDepth)
		err = request.Capabilities.Set(capability.Shallow)
	}
	if c.azure {
		// Azure Repos answers only clients that claim multi_ack. The claim costs nothing when the request names no
		// commits, since there is nothing to acknowledge.
		err = errors.Join(err, request.Capabilities.Set(capability.MultiACK))
	} else {
		var shallowErr error
		request.Haves = c.tips
		request.Shallows, shallowErr = c.store.Shallow()
		err = errors.Join(err, shallowErr)
	}
	if request.Capabilities.Supports(capability.Sideband64k) || request.Capabilities.Supports(capability.Sideband) {
		err = errors.Join(err, request.Capabilities.Set(capability.NoProgress))
	}
	return err
}

func demultiplexed(capabilities *capability.List, r io.Reader) io.Reader {
	switch {
	case capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, r)
	case capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, r)
	}
	return r
}

// updateShallow records where the history ends.
func (c *Clone) updateShallow(response *packp.UploadPackResponse) error {
	old, err := c.store.Shallow()
	if err != nil {
		return err
	}
	ends := map[plumbing.Hash]bool{}
	for _, h := range append(old, response.Shallows...) {
		ends[h] = true
	}
	for _, h := range response.Unshallows {
		delete(ends, h)
	}
	shallow := make([]plumbing.Hash, 0, len(ends))
	for h := range ends {
		shallow = append(shallow, h)
	}
	return c.store.SetShallow(shallow)
}

// ErrRaced is returned by Push when another writer moved the branch first.
var ErrRaced = errors.New("the branch has moved")

// Push moves a branch from old to the new commit if the branch is still at old. Old is the zero hash for a new branch.
// The server compares, so no other commit is lost. When the branch has moved, Push returns ErrRaced.
func (c *Clone) Push(ctx context.Context, branch string, old plumbing.Hash, commit MadeCommit) (err error) {
	session, err := c.transport.NewReceivePackSession(c.endpoint, c.auth)
	if err != nil {
		return c.explain("push to", err)
	}
	defer func() {
		// Over SSH, closing reports the exit code of a push that was refused. The status has said why already.
		if closeErr := session.Close(); err == nil && closeErr != nil {
			err = c.explain("push to", closeErr)
		}
	}()
	advertised, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return c.explain("push to", err)
	}
	branch = BranchName(branch)
	name := plumbing.NewBranchReferenceName(branch)
	if advertised.References[name.String()] != old {
		return ErrRaced
	}
	request := packp.NewReferenceUpdateRequestFromCapabilities(advertised.Capabilities)
	if advertised.Capabilities.Supports(capability.Sideband64k) {
		if err := request.Capabilities.Set(capability.Sideband64k); err != nil {
			return err
		}
	}
	var remarks remoteLines
	request.Progress = &remarks
	request.Commands = []*packp.Command{{Name: name, Old: old, New: commit.Hash}}
	reader, writer := io.Pipe()
	request.Packfile = reader
	go func() {
		_, err := packfile.NewEncoder(writer, c.store, false).Encode(commit.objects, 0)
		writer.CloseWithError(err)
	}()
	defer reader.Close()
	status, err := session.ReceivePack(ctx, request)
	if status != nil {
		for _, command := range status.CommandStatuses {
			if command.Status != "ok" {
				return c.refused(branch, command.Status, remarks)
			}
		}
	}
	if err != nil {
		return c.explain("push to", err)
	}
	return nil
}

// remoteLines collects what the server prints beside its status. It keeps the first 2,048 bytes.
type remoteLines []byte

// Write implements io.Writer.
func (r *remoteLines) Write(p []byte) (int, error) {
	const most = 2048
	if room := most - len(*r); room > 0 {
		*r = append(*r, p[:min(len(p), room)]...)
	}
	return len(p), nil
}

func (r remoteLines) String() string {
	var out []string
	for line := range strings.Lines(string(r)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, " / ")
}

// Commit returns a commit that was fetched or made.
func (c *Clone) Commit(h plumbing.Hash) (*object.Commit, error) { return object.GetCommit(c.store, h) }

// Tree returns the files of a commit.
func (c *Clone) Tree(commit *object.Commit) (*Tree, error) { return newTree(c.store, commit) }

// History returns the commits from tip back along first parents, newest first, as far as they were fetched.
func (c *Clone) History(tip plumbing.Hash) ([]*object.Commit, error) {
	var out []*object.Commit
	for len(out) < historyDepth {
		commit, err := c.Commit(tip)
		if errors.Is(err, plumbing.ErrObjectNotFound) && len(out) > 0 {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, commit)
		if len(commit.ParentHashes) == 0 {
			return out, nil
		}
		tip = commit.ParentHashes[0]
	}
	return out, nil
}

// containsTimeout bounds Contains.
const containsTimeout = time.Minute

// Contains reports whether revision, a commit on the branch, has commit in its history. It looks at the newest 50
// commits of the branch.
func (r Remote) Contains(ctx context.Context, branch, revision, commit string) (bool, error) {
	if revision == commit {
		return true, nil
	}
	c, err := r.Open(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, containsTimeout)
	defer cancel()
	tips, _, err := c.Fetch(ctx, branch)
	if err != nil {
		return false, err
	}
	if tips[0].IsZero() {
		return false, fmt.Errorf("%s has no branch %s", r.URL, BranchName(branch))
	}
	seen := map[plumbing.Hash]bool{}
	queue := []plumbing.Hash{plumbing.NewHash(revision)}
	for len(queue) > 0 {
		h := queue[0]
		queue = queue[1:]
		if seen[h] {
			continue
		}
		seen[h] = true
		if strings.HasPrefix(h.String(), commit) {
			return true, nil
		}
		if next, err := c.Commit(h); err == nil {
			queue = append(queue, next.ParentHashes...)
		}
	}
	return false, nil
}

// Changed returns the paths of the files that differ between two commits, in order.
func (c *Clone) Changed(from, to *object.Commit) ([]string, error) {
	before, err := object.GetTree(c.store, from.TreeHash)
	if err != nil {
		return nil, err
	}
	after, err := object.GetTree(c.store, to.TreeHash)
	if err != nil {
		return nil, err
	}
	changes, err := object.DiffTree(before, after)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, change := range changes {
		names = append(names, change.From.Name, change.To.Name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	slices.Sort(names)
	return slices.Compact(names), nil
}
