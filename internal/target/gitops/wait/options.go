// Package wait follows a GitOps operator, Argo CD or Flux, until it has applied a commit and the pods run its image.
//
// It sees the cluster through a [view]: the API server, or the API of Argo CD. The operator's objects are read in argocd.go
// and flux.go, and found in find.go; the workloads that they applied are judged by package status, as those of a deploy
// are.
package wait

import (
	"context"
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/kube/status"
)

// The operators.
const (
	ArgoCD = config.ArgoCD
	Flux   = config.Flux
)

// operatorTimeout is how long an operator may leave a request to look at the repository unanswered before it counts as
// down.
const operatorTimeout = 45 * time.Second

// Options say what to wait for, and how to see it.
type Options struct {
	// Kubeconfig and Context choose the cluster. Empty means what kubectl would take, or the account of the pod.
	Kubeconfig string
	Context    string
	// Network is the way to the API server, or to Argo CD.
	Network dial.Network
	// Access, if set, is the way to the cluster in place of both.
	Access delivery.ClusterAccess
	// ArgoCDServer, with ArgoCDToken, goes through Argo CD's own API instead: https://HOST[/ROOT]. It needs no access to
	// the cluster.
	ArgoCDServer string
	ArgoCDToken  string

	Operator  string // ArgoCD or Flux; empty means the one whose object follows RepoURL
	Namespace string // of the operator's object; empty means any
	Name      string // of the operator's object; empty means the one that follows RepoURL, Branch and Path

	RepoURL string // what the operator follows, to find its object
	Branch  string // may begin with refs/heads/
	Path    string

	Commit string // the commit to follow, or its first digits; empty means whatever the branch has
	Image  string // the reference, with its digest, that the pods must run
	Sync   bool   // ask for a sync where the Application is not synced automatically, or was not synced with success

	// Contains reports whether revision has Commit in its history, so that a later commit counts as well. Nil means that
	// the digest of the pods decides.
	Contains func(ctx context.Context, revision, commit string) (bool, error)
	// Grace is how long a problem that may heal is watched: a failed pull, a crash, a registry or a repository that does
	// not answer. 0 means a default for each kind of problem.
	Grace time.Duration

	operatorTimeout time.Duration // tests shorten it
}

func (o Options) graces() status.Graces {
	if o.Grace == 0 {
		return status.DefaultGraces
	}
	return status.AllGraces(o.Grace)
}

// Result is the state that ended a successful wait.
type Result struct {
	Operator string
	Name     string // NAMESPACE/NAME of the operator's object
	Revision string
	Objects  []Object
}

// Object is a workload that runs the image.
type Object struct {
	Ref     string // Deployment/vote-dev/vote
	Ready   bool
	Message string
}
