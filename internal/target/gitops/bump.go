package gitops

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/git/forge"
	"github.com/aksflow/aksflow/internal/target"
)

// RolledBackError is the error for an image that was on the branch before and that a later commit took back. Somebody
// did that on purpose, and a pipeline that runs again must not undo it.
type RolledBackError struct {
	Image  string
	Path   string
	Commit string // the commit that took it back
	Author string
	Time   time.Time
}

// Error implements error.
func (e *RolledBackError) Error() string {
	return fmt.Sprintf("%s was rolled back from %s by %s in commit %.10s of %s: deliver a new image, or set this one again with --force",
		e.Image, e.Path, e.Author, e.Commit, e.Time.Format("2006-01-02 15:04"))
}

// Bump sets the image on the branch of the remote, in one commit or not at all. It fails when no reference matches,
// naming the images that it found, and with a [RolledBackError] when a later commit rolled this very image back. When
// another writer pushes first, it applies the change to the new tip. It never forces a branch, except the one that a
// pull request is made from.
func Bump(ctx context.Context, o BumpOptions) (*Result, error) {
	if err := o.Target.Validate(); err != nil {
		return nil, fault.Usage(err)
	}
	var plan *manifest.Edit
	var image string
	result, err := o.land(ctx, func(c *git.Clone, base *object.Commit) (e *edit, err error) {
		o := o.settled(ctx, c, base)
		image = o.Target.Image
		e, plan, err = o.bump(ctx, c, base)
		return
	})
	if err == nil {
		result.Plan, result.Image = plan.Warn(ctx), image
	}
	return result, err
}

// settled is the bump with the reference that the branch has, where that is good enough.
func (o BumpOptions) settled(ctx context.Context, c *git.Clone, base *object.Commit) BumpOptions {
	if !o.Settle {
		return o
	}
	// References that cannot be read, or that differ, are all set.
	if now, err := o.delivered(ctx, c, base); err == nil {
		o.Target.Image = target.Settle(ref.Read(now), ref.Read(o.Target.Image)).String()
	}
	return o
}

// edit is a commit to be made.
type edit struct {
	files   map[string][]byte // by path
	changes []manifest.Change
	message string
}

// bump plans the commit on a base. Its edit is nil when the image is there already.
func (o BumpOptions) bump(ctx context.Context, c *git.Clone, base *object.Commit) (*edit, *manifest.Edit, error) {
	tree, err := c.Tree(base)
	if err != nil {
		return nil, nil, err
	}
	plan, err := manifest.Plan(ctx, tree, pathOrRoot(o.Path), o.Target, o.Check)
	if err != nil || len(plan.Changes) == 0 {
		return nil, plan, err
	}
	if err := o.respectRollback(ctx, c, base, plan); err != nil {
		return nil, plan, err
	}
	text := o.Message
	if text == "" {
		text = bumpMessage
	}
	message, err := o.message(text, plan.Changes)
	if err != nil {
		return nil, plan, err
	}
	files := map[string][]byte{}
	for _, f := range plan.Files {
		files[f.Path] = f.Content
	}
	return &edit{files: files, changes: plan.Changes, message: message}, plan, nil
}

const (
	pushLimit      = 200 // pushes that other writers may win
	transientLimit = 4   // failures of the network or the server that are tried again
)

// land makes a commit of what plan returns and brings it to the branch, or into a pull request. Plan is called again
// for each new tip of the branch.
func (o BumpOptions) land(ctx context.Context, plan func(*git.Clone, *object.Commit) (*edit, error)) (_ *Result, err error) {
	l := &lander{BumpOptions: o, plan: plan}
	l.Branch = git.BranchName(o.Branch)
	if o.PullRequest != nil {
		if err := forge.Merge(o.PullRequest.AutoMerge).Check(); err != nil {
			return nil, err
		}
	}
	if key := o.Remote.Access.SigningKey; len(key) > 0 {
		if l.signer, err = git.NewSigner(key, o.Remote.Access.SigningPassphrase); err != nil {
			return nil, err
		}
	}
	if l.clone, err = o.Remote.Open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.clone.Close()) }()

	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval, wait.Multiplier, wait.RandomizationFactor = 50*time.Millisecond, 2*time.Second, 1.4, 0.8
	result, err := backoff.Retry(ctx, func() (*Result, error) {
		result, err := l.attempt(ctx)
		var transient git.TransientError
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, git.ErrRaced):
			return nil, err
		case errors.As(err, &transient) && l.failures < transientLimit:
			l.failures++
			report.Warn(ctx, "%v; trying again", err)
			return nil, err
		}
		return nil, backoff.Permanent(err)
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(pushLimit), backoff.WithMaxElapsedTime(0))
	if errors.Is(err, git.ErrRaced) {
		return nil, fmt.Errorf("branch %s of %s moved during each of %d pushes: too many writers push at once: run it again", l.base, o.Remote.URL, l.pushes)
	}
	return result, err
}

// lander is the state of one call of land.
type lander struct {
	BumpOptions
	clone    *git.Clone
	plan     func(*git.Clone, *object.Commit) (*edit, error)
	signer   git.Signer
	base     string // name of the branch
	pushes   int
	failures int
	pushed   plumbing.Hash // the last commit that was pushed; the answer may have been lost
	result   *Result       // of that push
}

func (l *lander) attempt(ctx context.Context) (*Result, error) {
	branches := []string{l.Branch}
	if l.PullRequest != nil {
		branches = append(branches, l.headBranch())
	}
	tips, defaultBranch, err := l.clone.Fetch(ctx, branches...)
	if err != nil {
		return nil, err
	}
	l.base = l.Branch
	if l.base == "" {
		l.base = defaultBranch
	}
	if tips[0].IsZero() {
		return nil, fmt.Errorf("%s has no branch %s: create it, or name another", l.Remote.URL, l.base)
	}
	history, err := l.clone.History(tips[0])
	if err != nil {
		return nil, err
	}
	for _, commit := range history {
		if !l.pushed.IsZero() && commit.Hash == l.pushed {
			return l.result, nil // the push arrived although its answer was lost
		}
	}
	base := history[0]
	e, err := l.plan(l.clone, base)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return &Result{Branch: l.base, Commit: base.Hash.String(), Unchanged: true, Attempts: l.pushes}, nil
	}
	commit := git.NewCommit{Files: e.files, Message: e.message, Author: l.author(), Signer: l.signer}
	if l.PullRequest != nil {
		return l.propose(ctx, base, tips[1], e, commit)
	}
	made, err := l.clone.Make(base, commit)
	if err != nil {
		return nil, err
	}
	l.pushes++
	l.pushed, l.result = made.Hash, &Result{Changes: e.changes, Branch: l.base, Commit: made.Hash.String(), Attempts: l.pushes}
	if err := l.clone.Push(ctx, l.base, base.Hash, made); err != nil {
		if errors.Is(err, git.ErrRaced) {
			report.Waitf(ctx, l.base, "another push was faster; trying again on the new tip (%d)", l.pushes)
		}
		return nil, err
	}
	return l.result, nil
}

// headBranch returns the name of the branch that a pull request is made from: one for each path and image.
func (l *lander) headBranch() string {
	data := l.data(nil)
	return "aksflow/" + strings.Join(strings.FieldsFunc(data.Path+"/"+data.Name, func(r rune) bool {
		return r == '/' || r == '.' // no empty elements, and none that git reserves
	}), "/")
}

// propose rebuilds the head branch from the base, and opens a pull request or brings the open one up to date.
func (l *lander) propose(ctx context.Context, base *object.Commit, head plumbing.Hash, e *edit, commit git.NewCommit) (*Result, error) {
	result := &Result{Changes: e.changes, Branch: l.headBranch()}
	if result.Branch == l.base {
		return nil, fault.Usagef("the pull request would be made from %s, which is also the branch to merge into: bump another branch", l.base)
	}
	host, err := forge.For(ctx, l.Remote)
	if err != nil {
		return nil, err
	}
	made, err := l.clone.Make(base, commit)
	if err != nil {
		return nil, err
	}
	if same, err := l.sameChange(base, head, made); err != nil {
		return nil, err
	} else if same {
		made.Hash = head // the reviews of it stay valid
	} else {
		l.pushes++
		if err := l.clone.Push(ctx, result.Branch, head, made); err != nil {
			return nil, err
		}
	}
	result.Commit, result.Attempts = made.Hash.String(), l.pushes
	request := forge.Request{
		Head: result.Branch, Base: l.base, Labels: l.PullRequest.Labels, AutoMerge: forge.Merge(l.PullRequest.AutoMerge),
	}
	request.Title, _, _ = strings.Cut(e.message, "\n")
	data := l.data(e.changes)
	data.Branch = l.base
	if data.Rendered, err = l.renderedDiff(ctx, l.clone, base, made); err != nil {
		return nil, err
	}
	if request.Body, err = fill("pull request body", pullRequestBody, data); err != nil {
		return nil, err
	}
	result.PullRequest, err = host.Propose(ctx, request)
	return result, err
}

// sameChange reports whether the head branch has the very change already, on the same base.
func (l *lander) sameChange(base *object.Commit, head plumbing.Hash, made git.MadeCommit) (bool, error) {
	if head.IsZero() {
		return false, nil
	}
	present, err := l.clone.Commit(head)
	if err != nil {
		return false, err
	}
	return present.TreeHash == made.Tree && len(present.ParentHashes) == 1 && present.ParentHashes[0] == base.Hash, nil
}

// respectRollback returns a [RolledBackError] if a commit took the image back after it had been delivered. A delivery of
// another image in between is no rollback.
func (o BumpOptions) respectRollback(ctx context.Context, c *git.Clone, base *object.Commit, plan *manifest.Edit) error {
	if o.Force {
		return nil
	}
	history, err := c.History(base.Hash)
	if err != nil {
		return err
	}
	present, err := o.stateAt(ctx, c, base, plan.Files)
	if err != nil {
		return err
	}
	had := 0 // index of the newest commit that has the image
	for i, commit := range history {
		state, err := o.stateAt(ctx, c, commit, plan.Files)
		if err != nil {
			return err
		}
		switch {
		case had == 0 && state.right:
			had = i
		case had > 0 && !state.right:
			if state.images == present.images {
				return o.rolledBack(c, history[had-1])
			}
			return nil
		}
	}
	if had > 0 && strings.Contains(history[had-1].Message, revertsSentence) {
		return o.rolledBack(c, history[had-1])
	}
	return nil
}

// rolledBack returns the error for the commit that took an image back, unless that commit delivers an image itself.
func (o BumpOptions) rolledBack(c *git.Clone, by *object.Commit) error {
	if delivers(c, by) {
		return nil
	}
	return &RolledBackError{
		Image: o.Target.Image, Path: pathOrRoot(o.Path), Commit: by.Hash.String(), Author: by.Author.Name, Time: by.Author.When,
	}
}

// state is what the files of an edit say at a commit.
type state struct {
	images string // the references that the target names
	right  bool   // they are the target's image
}

func (o BumpOptions) stateAt(ctx context.Context, c *git.Clone, commit *object.Commit, files []manifest.File) (state, error) {
	tree, err := c.Tree(commit)
	if err != nil {
		return state{}, err
	}
	var images []string
	right := true
	for _, f := range files {
		// The file alone: the references of an environment's values may be completed by the files beside it.
		target := o.Target
		target.Keys = nil
		for _, k := range o.Target.Keys {
			if path.Join(pathOrRoot(o.Path), k.File) == f.Path {
				k.File = path.Base(k.File)
				target.Keys = append(target.Keys, k)
			}
		}
		found, err := manifest.Find(ctx, tree, f.Path, target)
		if err != nil {
			images, right = append(images, f.Path), false // the file was not there, or not valid, then
			continue
		}
		right = right && len(found) > 0
		for _, seen := range found {
			right = right && seen.Right
			images = append(images, seen.Image)
		}
	}
	return state{images: strings.Join(images, "\n"), right: right}, nil
}
