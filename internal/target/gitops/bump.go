package gitops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
)

// RolledBackError says that the image was on the branch before, and was taken back on purpose.
type RolledBackError struct {
	Image  string
	Path   string
	Commit string // the commit that took it back
	Author string
	Time   time.Time
}

// Error implements error.
func (e *RolledBackError) Error() string {
	return fmt.Sprintf("%s was taken back from %s by %s in commit %.10s of %s: deliver a new image, or set this one again with --force",
		e.Image, e.Path, e.Author, e.Commit, e.Time.Format("2006-01-02 15:04"))
}

// Bump sets the image on the remote's branch, in one commit or not at all. It fails when no reference matches, naming
// the images that were seen, and when a later commit rolled this very image back ([RolledBackError]). A push that
// loses a race is tried again on the new tip; a branch is never forced, save a pull request's own.
func Bump(ctx context.Context, o BumpOptions) (*Result, error) {
	if err := o.Target.Validate(); err != nil {
		return nil, fault.Usage(err)
	}
	var plan *manifest.Edit
	result, err := o.land(ctx, func(c *clone, base *object.Commit) (e *edit, err error) { e, plan, err = o.bump(ctx, c, base); return })
	if err == nil {
		result.Plan = plan.Warn(ctx)
	}
	return result, err
}

// edit is a commit to be made.
type edit struct {
	files   []manifest.File
	changes []manifest.Change
	message string
}

// bump plans the commit on a base; its edit is nil when the image is there already.
func (o BumpOptions) bump(ctx context.Context, c *clone, base *object.Commit) (*edit, *manifest.Edit, error) {
	tree, err := newTreeFS(c.store, base)
	if err != nil {
		return nil, nil, err
	}
	plan, err := manifest.Plan(ctx, tree, pathOrRoot(o.Path), o.Target, o.Check)
	if err != nil || len(plan.Changes) == 0 {
		return nil, plan, err
	}
	if err := o.respectRollback(c, base, plan); err != nil {
		return nil, plan, err
	}
	message, err := o.message(o.Message, plan.Changes)
	return &edit{files: plan.Files, changes: plan.Changes, message: message}, plan, err
}

// land makes a commit of what plan returns and gets it onto the branch, or into a pull request. Plan is called again
// for each new tip.
func (o BumpOptions) land(ctx context.Context, plan func(*clone, *object.Commit) (*edit, error)) (_ *Result, err error) {
	c, err := o.Remote.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	if o.Signer == nil {
		if o.Signer, err = SignerFromEnvironment(); err != nil {
			return nil, err
		}
	}
	most := o.Attempts
	if most <= 0 {
		most = 50
	}
	l := &lander{BumpOptions: o, clone: c, plan: plan}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval, wait.Multiplier, wait.RandomizationFactor = 50*time.Millisecond, 2*time.Second, 1.4, 0.8
	result, err := backoff.Retry(ctx, func() (*Result, error) {
		result, err := l.attempt(ctx)
		var temporary temporaryError
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, errRaced):
			return nil, err
		case errors.As(err, &temporary) && l.failures < 4:
			l.failures++
			report.Warn(ctx, "%v; trying again", err)
			return nil, err
		}
		return nil, backoff.Permanent(err)
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(uint(most)), backoff.WithMaxElapsedTime(0))
	if errors.Is(err, errRaced) {
		return nil, fmt.Errorf("branch %s of %s has moved under each of %d pushes: too many writers at once; run it again", l.base, c.url, l.pushes)
	}
	return result, err
}

// lander is what one call of land remembers between its attempts.
type lander struct {
	BumpOptions
	*clone
	plan     func(*clone, *object.Commit) (*edit, error)
	base     string // the branch's name
	pushes   int
	failures int
	pushed   plumbing.Hash // whose answer was lost, perhaps
	result   *Result       // of that push
}

func (l *lander) attempt(ctx context.Context) (*Result, error) {
	branches := []string{l.Branch}
	if l.PullRequest != nil {
		branches = append(branches, l.headBranch())
	}
	tips, defaultBranch, err := l.fetch(ctx, branches...)
	if err != nil {
		return nil, err
	}
	l.base = l.Branch
	if l.base == "" {
		l.base = defaultBranch
	}
	if tips[0].IsZero() {
		return nil, fmt.Errorf("%s has no branch %s: create it, or name another", l.url, l.base)
	}
	history, err := l.history(tips[0])
	if err != nil {
		return nil, err
	}
	for _, commit := range history {
		if !l.pushed.IsZero() && commit.Hash == l.pushed {
			return l.result, nil // a push landed although its answer did not arrive
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
	if l.PullRequest != nil {
		return l.propose(ctx, base, tips[1], e)
	}
	commit, made, err := l.writeCommit(base, e.files, e.message, l.Author, l.Signer)
	if err != nil {
		return nil, err
	}
	l.pushes++
	l.pushed, l.result = commit, &Result{Changes: e.changes, Branch: l.base, Commit: commit.String(), Attempts: l.pushes}
	if err := l.push(ctx, l.base, base.Hash, commit, made); err != nil {
		if errors.Is(err, errRaced) {
			report.Progressf(ctx, l.base, "another push was faster; trying again on the new tip (%d)", l.pushes)
		}
		return nil, err
	}
	return l.result, nil
}

// respectRollback looks for a commit that took the image back after it had been delivered: people do that on purpose,
// and a pipeline that runs again must not undo it. A delivery of another image in between is no such thing.
func (o BumpOptions) respectRollback(c *clone, base *object.Commit, plan *manifest.Edit) error {
	if o.Force {
		return nil
	}
	history, err := c.history(base.Hash)
	if err != nil {
		return err
	}
	present, err := o.stateAt(c, base, plan.Files)
	if err != nil {
		return err
	}
	delivered := 0 // the newest commit that had the image
	for i, commit := range history {
		state, err := o.stateAt(c, commit, plan.Files)
		if err != nil {
			return err
		}
		switch {
		case delivered == 0 && state.right:
			delivered = i
		case delivered > 0 && !state.right:
			if state.images == present.images {
				return o.rolledBack(c, history[delivered-1])
			}
			return nil
		}
	}
	if delivered > 0 && strings.Contains(history[delivered-1].Message, revertsSentence) {
		return o.rolledBack(c, history[delivered-1])
	}
	return nil
}

// rolledBack is the error for the commit that took an image back, unless that commit is itself a delivery, merged or
// not.
func (o BumpOptions) rolledBack(c *clone, by *object.Commit) error {
	if isDelivery(by.Message) {
		return nil
	}
	if len(by.ParentHashes) > 1 {
		for _, parent := range by.ParentHashes[1:] {
			if merged, err := c.commit(parent); err == nil && isDelivery(merged.Message) {
				return nil
			}
		}
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

func (o BumpOptions) stateAt(c *clone, commit *object.Commit, files []manifest.File) (state, error) {
	tree, err := newTreeFS(c.store, commit)
	if err != nil {
		return state{}, err
	}
	var images []string
	right := true
	for _, f := range files {
		n, err := tree.find("stat", f.Path)
		if err != nil {
			images, right = append(images, f.Path), false // not there yet
			continue
		}
		content, err := tree.content(n)
		if err != nil {
			return state{}, err
		}
		r, err := manifest.Set(f.Path, content, o.Target)
		if err != nil {
			images, right = append(images, f.Path), false // broken then; it is not now
			continue
		}
		right = right && r.Matched > 0 && len(r.Changes) == 0
		for _, seen := range r.Seen {
			if seen.Matched {
				images = append(images, seen.Image)
			}
		}
	}
	return state{images: strings.Join(images, "\n"), right: right}, nil
}
