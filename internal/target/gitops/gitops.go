// Package gitops delivers through a git repository that an operator in the cluster follows.
//
// [Bump] sets an image in the manifests of a remote branch: one commit or nothing, without a work tree, by direct push
// or by pull request. [Rollback] reverts a bump. [Wait] follows Argo CD or Flux until the pods run the digest.
// [SourceRevision] tells which commit an image is built from. All of it is in process; no git, kubectl or argocd
// binary is called.
package gitops

import (
	"context"
	"net"
	"time"

	"github.com/go-git/go-git/v5"

	"github.com/aksflow/aksflow/internal/core/manifest"
)

// Remote is a git repository and the way in.
type Remote struct {
	// URL is https://…, http://…, ssh://… or user@host:path. Credentials in it are refused: they belong in Auth.
	URL  string
	Auth Auth
	// CABundle holds PEM certificates that are trusted besides the system's.
	CABundle []byte
	// Dial replaces the dialer of HTTP connections when it is not nil; names and TLS stay those of URL.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Auth is one of a token, a GitHub App or an SSH key. The zero Auth stands for that of the environment
// ([AuthFromEnvironment]); over SSH, for the user's agent.
type Auth struct {
	// Username goes with Token; empty means "x-access-token", which GitHub, Azure Repos and GitLab accept.
	Username string
	// Token is a password or token for HTTPS.
	Token string
	// App authenticates as a GitHub App's installation, for git and for pull requests.
	App *GitHubApp
	// SSHKey is a private key in OpenSSH or PEM form, SSHPassphrase what it is encrypted with.
	SSHKey        []byte
	SSHPassphrase []byte
	// KnownHosts holds the host keys in the form of ssh_known_hosts. Empty means the user's and the system's files. A
	// host that stands in none is refused.
	KnownHosts []byte
}

// GitHubApp is a GitHub App's installation.
type GitHubApp struct {
	AppID          int64
	InstallationID int64
	PrivateKey     []byte // PEM
	BaseURL        string // of the API: https://HOST/api/v3/; empty means api.github.com, or that of the remote's host
}

// Author is who a commit is by.
type Author struct{ Name, Email string }

// BumpOptions say what to set where.
type BumpOptions struct {
	Remote Remote
	Branch string // empty means the remote's default branch
	Path   string // directory or file in the repository, slash-separated; empty means all of it
	Target manifest.Target
	Check  manifest.Options // how the edit is verified

	Author Author // empty means GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL, else "aksflow"
	// Message is a text/template over [MessageData]. Its first line is the subject. Empty means DefaultMessage.
	Message string
	// SourceRevision and PipelineRun become the trailers Source-Revision and Pipeline-Run; beside them stands Image.
	SourceRevision string // commit of the application's source
	PipelineRun    string // URL of the run
	SignOff        bool   // adds Signed-off-by
	SkipCI         bool   // adds [skip ci] to the subject, for pushes whose token starts workflows
	// Signer signs the commit: see [NewSigner]. nil stands for that of the environment ([SignerFromEnvironment]), if any.
	Signer git.Signer

	// PullRequest asks for a pull request instead of a push to Branch.
	PullRequest *PullRequest
	// Force sets the image even when a later commit rolled this very image back.
	Force bool
	// Attempts bounds the pushes tried when other writers win the race; 0 means 50. The time is bounded by the
	// context.
	Attempts int
}

// MessageData is what a commit's or a pull request's template can use.
type MessageData struct {
	Name           string // last element of the image's repository: vote
	Image          string // the whole reference
	Tag            string // may be empty
	Digest         string // sha256:…; may be empty
	Version        string // the tag; without one, the first 12 digits of the digest
	Path           string // as in BumpOptions; "." for the root
	Branch         string
	Changes        []manifest.Change
	SourceRevision string
	PipelineRun    string
}

// PullRequest says how to propose a change on GitHub or GitHub Enterprise Server.
type PullRequest struct {
	Title  string   // a template; empty means the commit's subject
	Body   string   // a template; empty means what changed and links
	Labels []string // added to the request; created by GitHub when missing
	// AutoMerge merges when the branch's rules are met: "merge", "squash", "rebase"; empty leaves it to people.
	AutoMerge string
	// Branch to push to; empty means aksflow/PATH/NAME, one for each environment and image. It belongs to aksflow and
	// is rebuilt from the base at each bump.
	Branch string
	// BaseURL is the API's: https://HOST/api/v3/. Empty means api.github.com for github.com, else that of URL's host.
	BaseURL string
	// Owner and Name of the repository on GitHub; empty means taken from the URL.
	Owner, Name string
}

// Result is what a bump or a rollback did.
type Result struct {
	Changes     []manifest.Change
	Branch      string         // the branch that was pushed or, Unchanged, looked at
	Commit      string         // the new commit; Unchanged: the branch's tip, which has the image
	PullRequest string         // its URL
	Unchanged   bool           // the image was there already: no commit
	Plan        *manifest.Edit // of a bump, also when nothing was to be changed
	Attempts    int            // pushes tried
}

// RollbackOptions say which bump to revert. BumpOptions.Target.Image may be without tag and digest here.
type RollbackOptions struct {
	BumpOptions
	// To is the commit whose images come back; empty means the parent of the commit that set the present one.
	To string
}

// Wait follows these operators.
const (
	ArgoCD = "argocd"
	Flux   = "flux"
)

// WaitOptions say what to wait for, and through which door.
type WaitOptions struct {
	// Kubeconfig and Context choose the cluster; empty means the usual loading rules and the in-cluster account.
	Kubeconfig string
	Context    string
	// ArgoCDServer, with ArgoCDToken, goes through Argo CD's own API instead: https://HOST[/ROOT]. No cluster
	// credential is needed then. Empty means what AKSFLOW_ARGOCD_SERVER and AKSFLOW_ARGOCD_TOKEN say, if anything.
	ArgoCDServer string
	ArgoCDToken  string
	CABundle     []byte
	Dial         func(ctx context.Context, network, address string) (net.Conn, error)

	Operator  string // ArgoCD or Flux; empty means the one whose resources follow RepoURL
	Namespace string // of the Application or Kustomization; empty means found
	Name      string // of the Application or Kustomization; empty means the one that follows RepoURL, Branch and Path

	RepoURL string // what the operator follows, to find it
	Branch  string
	Path    string

	Commit string // the commit to follow; empty means whatever the branch has
	Image  string // the reference, with its digest, that the pods must run
	Sync   bool   // ask for a sync where the Application is not automated

	// Contains tells whether revision has Commit in its history; it lets a later commit pass. nil means that the pods'
	// digest decides. [Remote.Contains] answers it.
	Contains func(ctx context.Context, revision, commit string) (bool, error)
	// Grace is how long what may heal may stay broken: a first failed pull, one crash, a registry or a repository that
	// does not answer. 0 means what package deploy allows each of them.
	Grace time.Duration
}

// ObjectStatus is one object that Wait looked at.
type ObjectStatus struct {
	Ref     string `json:"ref"` // "Deployment/vote-dev/vote"
	Ready   bool   `json:"ready"`
	Message string `json:"message"`
}

// WaitResult is the state that ended a successful wait.
type WaitResult struct {
	Operator string         `json:"operator"`
	Name     string         `json:"name"` // NAMESPACE/NAME of the Application or Kustomization
	Revision string         `json:"revision"`
	Objects  []ObjectStatus `json:"objects"`
}
