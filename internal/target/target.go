// Package target says what a way to an environment has to offer. Each way is a package below this one, and package
// flow lists them; nothing else knows which there are.
package target

import (
	"context"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// Target brings releases to environments in one way: by applying manifests to a cluster, or by a commit that an
// operator in the cluster follows.
type Target interface {
	// Steps returns the steps that bring the release to its environment, once its image is published. It is called
	// before the image has a reference: the steps take it from the state. It does no work and reaches no network.
	Steps(delivery.Release, Options) ([]delivery.Step, error)
	// Current returns what runs in the environment now.
	Current(context.Context, *delivery.Environment) (Running, error)
	// Diff returns what a delivery of the release would change. The Detail is a *[delivery.Difference].
	Diff(context.Context, delivery.Release, Options) (delivery.Outcome, error)
	// Rollback goes back to what was delivered before, or to the revision or commit that to names. It returns an
	// outcome beside an error, as far as it came.
	Rollback(ctx context.Context, r delivery.Release, to string, o Options) (delivery.Outcome, error)
	// Health returns how what Current returned is now.
	Health(context.Context, *delivery.Environment, Running) (Health, error)
	// History returns what was delivered to the environment, the newest first.
	History(context.Context, *delivery.Environment) ([]delivery.Revision, error)
}

// Resumer is a target that can hold a release until somebody decides about it.
type Resumer interface {
	// Resume finishes the release that is held.
	Resume(context.Context, delivery.Release, Options) (delivery.Outcome, error)
	// Abort undoes the release that is held.
	Abort(context.Context, delivery.Release, Options) (delivery.Outcome, error)
}

// Uninstaller is a target that can take an app away again.
type Uninstaller interface {
	// Uninstall deletes what the app has in its environment. The Detail is a *[delivery.Uninstalled].
	Uninstall(context.Context, delivery.Release, Options) (delivery.Outcome, error)
}

// Preparer is a target that needs something set up in an environment on the local platform before it can deliver to it.
type Preparer interface {
	// Prepare sets it up. It may be called at any time, and changes nothing the second time.
	Prepare(context.Context, *delivery.Environment) error
}

// Checker is a target that can find out beforehand what would stop a delivery.
type Checker interface {
	// Check looks for what the steps of the release need: servers that answer, and rights there. It changes nothing.
	Check(context.Context, delivery.Release, Options) []delivery.Check
}

// Running is what runs in an environment.
type Running struct {
	// Image is the one that was delivered last and succeeded; "" when nothing was.
	Image string
	// Source is the commit that it was built from.
	Source string
	// Since is when it was delivered.
	Since time.Time
}

// Health is how what runs in an environment is.
type Health struct {
	// Since is since when it runs without a problem, as far as the cluster tells.
	Since time.Time
	// Problem is what is wrong now; "" when nothing is.
	Problem string
}

// Options are what the caller decides about one run. A target ignores those that mean nothing to it.
type Options struct {
	// Replace are the names of images that the delivered one takes the place of; empty means its own.
	Replace []string
	// Grace is how long a problem that may go away is watched before the delivery fails. 0 means a default for each
	// kind of problem.
	Grace time.Duration

	Push PushOptions
	Pull PullOptions
}

// PushOptions are for targets that change the cluster themselves.
type PushOptions struct {
	// NoRollback leaves a failed deploy as it is.
	NoRollback bool
	// ForceConflicts takes over fields that another field manager owns.
	ForceConflicts bool
	// Recreate deletes and creates again what cannot be changed in place.
	Recreate bool
	// NoPrune keeps objects that left the manifests.
	NoPrune bool
	// PruneNamespaces and PruneVolumes also delete namespaces with all that is in them, and volume claims with their
	// data.
	PruneNamespaces, PruneVolumes bool
	// PruneDefinitions also deletes CustomResourceDefinitions, with all objects of their kinds; PruneKept, objects that an
	// annotation says to keep.
	PruneDefinitions, PruneKept bool
	// PastJobs rolls back past revisions that ran Jobs, whose work is not undone.
	PastJobs bool
	// NoHooks uninstalls without the app's hooks.
	NoHooks bool
}

// PullOptions are for targets that write to a git repository.
type PullOptions struct {
	// Force sets an image again that a later commit rolled back.
	Force bool
	// Sync asks Argo CD for a sync where it is not automated, or where that of the revision failed before.
	Sync bool
	// Strict changes nothing when something cannot be verified, such as a kustomization with a remote base, or when a template of
	// a chart names the image.
	Strict bool
	// SkipCI marks the commit so that it starts no workflow; SignOff adds Signed-off-by.
	SkipCI, SignOff bool
	// Message is the commit's message, a template. Empty means a default.
	Message string
	// AuthorName and AuthorEmail are the commit's author; "" means that of the environment.
	AuthorName, AuthorEmail string
	// Labels and AutoMerge are for a pull request; AutoMerge is merge, squash, rebase or "".
	Labels    []string
	AutoMerge string
}
