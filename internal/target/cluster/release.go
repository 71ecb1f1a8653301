package cluster

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Manager is the field manager of everything that this package applies.
const Manager = "aksflow"

// Release is what to deploy, and how.
type Release struct {
	// App names the delivery. Deliveries of one App and Namespace are revisions of each other.
	App string
	// Namespace is where objects that name no namespace go, and where the delivery's records, its ApplySet and its
	// Lease are. It is created when Objects hold it.
	Namespace string
	// Namespaces are further namespaces that Objects may name. An object for any other is refused.
	Namespaces []string
	// Objects are changed by nobody here: they are copied first.
	Objects []*unstructured.Unstructured

	// Image is the delivered image, HOST/REPO@sha256:…, with or without a tag. Objects hold it already, see
	// render.Options. Pods that should run it are checked for its digest. May be empty.
	Image string
	// SourceRevision is the commit that the image was built from; written to records and annotations. May be empty.
	SourceRevision string
	// RunURL is the CI run that deploys; written to records and annotations. May be empty.
	RunURL string
	// User is who deploys; default: USER@host of this process.
	User string

	// Strategy says how the pods that run Image are replaced. The zero value is a rolling update.
	Strategy Strategy

	// NoRollback leaves a failed deploy as it is, for debugging.
	NoRollback bool
	// ForceConflicts takes over fields that another manager owns.
	ForceConflicts bool
	// Recreate deletes and creates again what cannot be changed in place, such as a Deployment whose selector differs.
	Recreate bool
	// NoPrune keeps what left the manifests.
	NoPrune bool
	// PruneNamespaces and PruneVolumes let the pruning delete Namespaces, with all that is in them, and
	// PersistentVolumeClaims, with their data.
	PruneNamespaces, PruneVolumes bool

	// Grace is how long a reason that may heal is watched before it fails the deploy. Zero means the default of each
	// reason: seconds for a missing ConfigMap or Secret, half a minute for a registry that does not answer, for a probe
	// what its period and threshold allow, as long as it takes while an autoscaler adds a node.
	Grace time.Duration
	// History is how many revisions are kept; default 10.
	History int
}

// Kind of a Strategy.
type Kind string

// The kinds of Strategy.
const (
	// Rolling leaves it to the Deployment's own strategy.
	Rolling Kind = "rolling"
	// Canary sends a growing part of the traffic to the new version: by the number of its pods behind the Service, or
	// by the weights of an HTTPRoute where the manifests have one.
	Canary Kind = "canary"
	// BlueGreen starts the new version beside the old one and then turns the Service's selector.
	BlueGreen Kind = "blue-green"
)

// Strategy says how the pods of the new version take over from those of the old one.
type Strategy struct {
	Kind Kind
	// Percent are a canary's stages, growing, each between 1 and 99. Default: 10, 50.
	Percent []int
	// Smoke are the requests that each stage must answer before the next one begins.
	Smoke []Smoke
	// Pause is how long a stage is watched before the next one begins.
	Pause time.Duration
	// Hold ends the deploy at the first stage, to be finished by Promote or undone by Reject. A blue-green release
	// holds with the new version ready and the Service still turned to the old one.
	Hold bool
}

// Smoke is one HTTP request through the API server's proxy, so that no public address is needed.
type Smoke struct {
	Service string // default: the Service in front of the app
	Port    string // name or number; default: the Service's only or first port
	Path    string // default: "/"
	Status  int    // wanted; default: 200
	Body    string // must be contained in the answer; may be empty
}

// Object statuses of a Result.
const (
	Created    = "created"
	Configured = "configured"
	Unchanged  = "unchanged"
	Pruned     = "pruned"
	Restored   = "restored"
	Removed    = "removed" // had been created by this deploy, which then failed
	Failed     = "failed"
	Held       = "held" // waits for Promote or Reject
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
	// Revision is the number of the revision that the cluster runs now; 0 when there is none.
	Revision int `json:"revision"`
	// RolledBack says that the deploy failed and that what was there before is back.
	RolledBack bool `json:"rolledBack"`
	// Held says that a canary or blue-green release waits for Promote or Reject.
	Held bool `json:"held,omitempty"`
}

// Changed says whether anything in the cluster was changed.
func (r *Result) Changed() bool {
	for _, o := range r.Objects {
		if o.Status != Unchanged {
			return true
		}
	}
	return false
}
