package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout"
)

// Release is what to deploy, and how.
type Release struct {
	// App is the app's name. Releases of one App and Namespace are revisions of each other.
	App string
	// Namespace is where objects that name no namespace go, and where the app's records, its ApplySet and its Lease are.
	// It is created when Objects hold it.
	Namespace string
	// Namespaces are further namespaces that Objects may name. An object for any other is refused.
	Namespaces []string
	// Objects are the manifests. They are copied, and not changed.
	Objects []*unstructured.Unstructured

	// Image is the delivered image, HOST/REPO@sha256:…, with or without a tag. Objects hold it already, see
	// render.Options. Pods that should run it are checked for its digest. May be empty.
	Image string
	// Published reports whether the registry is known to have Image. A node that does not find it yet is then no failure.
	Published bool
	// SourceRevision is the commit that the image was built from; written to records and annotations. May be empty.
	SourceRevision string
	// RunURL is the CI run that deploys; written to records and annotations. May be empty.
	RunURL string
	// User is who deploys, for records and for others who wait. Default: aksflow.
	User string
	// Note is the message of the record of a deploy that succeeds, such as who opened the gates for it. May be empty.
	Note string

	// Rollback means that Objects are those of an earlier revision. It decides which hooks run.
	Rollback bool

	// Strategy says how the pods that run Image are replaced. The zero value is a rolling update.
	Strategy Strategy

	// NoRollback leaves a failed deploy as it is, for debugging.
	NoRollback bool
	Rules
	// History is how many revisions are kept; default 10.
	History int
}

// The types of package kube that callers need.
type (
	Options        = kube.Options
	Revision       = kube.Revision
	RevisionStatus = kube.RevisionStatus
)

// Rules say what may happen to objects that exist.
type Rules struct {
	// ForceConflicts takes over fields that another manager owns.
	ForceConflicts bool
	// Recreate deletes and creates again objects that cannot be changed in place, such as a Deployment with another
	// selector. Objects that need a Prune flag of their own also need that flag.
	Recreate bool
	// NoPrune keeps objects that left the manifests.
	NoPrune bool
	// PruneNamespaces and PruneVolumes allow to delete Namespaces, with all that is in them, and PersistentVolumeClaims and
	// PersistentVolumes, with their data.
	PruneNamespaces, PruneVolumes bool
	// PruneDefinitions allows to delete CustomResourceDefinitions, with all objects of their kinds in every namespace.
	PruneDefinitions bool
	// PruneKept allows to delete objects with an annotation that says to keep them, as helm.sh/resource-policy does.
	PruneKept bool

	// MakeNamespaces creates namespaces that are not there and that no object describes. They are no part of the app, and stay.
	MakeNamespaces bool

	// Grace is how long a problem that may heal is watched before it fails the deploy. 0 means the default of each kind:
	// seconds for a missing ConfigMap or Secret, half a minute for a registry that does not answer, for a probe the time
	// that its period and threshold allow, without a limit while an autoscaler adds a node.
	Grace time.Duration
}

// The types of package rollout that a Release is made of.
type (
	Strategy = rollout.Strategy
	Kind     = rollout.Kind
	Smoke    = rollout.Smoke
)

// The kinds of Strategy.
const (
	Rolling   = rollout.Rolling
	Canary    = rollout.Canary
	BlueGreen = rollout.BlueGreen
)

// Object statuses of a Result.
const (
	Created    = string(plan.Created)
	Configured = string(plan.Configured)
	Unchanged  = string(plan.Unchanged)
	Pruned     = "pruned"
	Restored   = "restored"
	Removed    = "removed" // existed only during this deploy
	Failed     = "failed"
	Held       = "held" // waits to be resumed or aborted
)

// ObjectResult is what became of one object.
type ObjectResult struct {
	Ref     string `json:"ref"`    // Deployment/vote, or Deployment/vote-dev/vote where namespaces differ
	Status  string `json:"status"` // one of the constants above
	Message string `json:"message,omitempty"`
}

// Result is what became of a deploy. It is returned beside an error too, as far as the deploy came.
type Result struct {
	Objects []ObjectResult `json:"objects"`
	// Revision is the number of the revision that the cluster runs now, or, if Held is set, of the one that is held; 0
	// when there is none.
	Revision int `json:"revision"`
	// RolledBack reports that the deploy failed and that what was there before is back.
	RolledBack bool `json:"rolledBack"`
	// Held reports that a canary or blue-green release waits to be resumed or aborted.
	Held bool `json:"held,omitempty"`
	// Diff is what was to change, as unified diffs with the values of Secrets masked.
	Diff string `json:"-"`
	// Killed is the revision whose deploy was killed and that this deploy took up from; 0 when there is none.
	Killed int `json:"killed,omitempty"`
	// Failures are the objects that did not get ready, and why.
	Failures []watch.Failure `json:"failures,omitempty"`
}

// Changed reports whether anything in the cluster was changed, or a deploy that was killed was finished.
func (r *Result) Changed() bool {
	if r.Killed > 0 {
		return true
	}
	for _, o := range r.Objects {
		if o.Status != Unchanged {
			return true
		}
	}
	return false
}

// maxObject is etcd's limit for a request, in bytes, with room for what the server adds.
const maxObject = 1_500_000

var (
	appName       = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	namespaceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// check returns what is wrong with a release, as far as that is known without the cluster.
func (r *Release) check() error {
	var errs []error
	if !appName.MatchString(r.App) {
		errs = append(errs, fmt.Errorf("%q is not a name for an app: lower-case letters, digits and dashes, at most 40", r.App))
	}
	if !namespaceName.MatchString(r.Namespace) {
		errs = append(errs, fmt.Errorf("%q is not a name for a namespace", r.Namespace))
	}
	if len(r.Objects) == 0 {
		errs = append(errs, errors.New("nothing to deploy: no manifests"))
	}
	for _, o := range r.Objects {
		data, err := o.MarshalJSON()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s/%s: %w", o.GetKind(), o.GetName(), err))
		} else if len(data) > maxObject {
			errs = append(errs, fmt.Errorf("%s/%s is too large for the API server (%d bytes, and it takes about %d): split it, or keep the data outside the cluster", o.GetKind(), o.GetName(), len(data), maxObject))
		}
	}
	if err := r.Strategy.Check(); err != nil {
		errs = append(errs, err)
	}
	return fault.Usage(errors.Join(errs...))
}
