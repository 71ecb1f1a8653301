// Package delivery holds the types that the parts of a delivery hand to each other: what an image is built from, where
// it goes, the steps on the way, and what became of each.
//
// It is a leaf: it does nothing by itself, and packages that do not know each other share it.
package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
)

// Source is what an image is built from.
type Source struct {
	// Commit is the last commit that touched the build context; "" outside of a git repository.
	Commit string `json:"commit,omitempty"`
	// Time is when that commit was made.
	Time time.Time `json:"time,omitzero"`
	// Dirty reports that the work tree has changes that are not committed.
	Dirty bool `json:"dirty,omitempty"`
	// Shallow reports that the clone's history ends before the last change of the build context was found: Commit is
	// then the oldest commit of the clone.
	Shallow bool `json:"shallow,omitempty"`
	// Key is the source key: it names what goes into the image, without what changes by itself. "" when it is not known.
	Key string `json:"key,omitempty"`
}

// Revision is the commit, with -dirty behind it when the work tree has changes that are not committed. It is what
// labels, records and trailers say.
func (s Source) Revision() string {
	if s.Commit != "" && s.Dirty {
		return s.Commit + "-dirty"
	}
	return s.Commit
}

// Environment is where a delivery goes to. It is resolved once: variables are expanded, flags have replaced what the
// configuration says, paths can be opened, and credentials are values.
type Environment struct {
	config.Environment

	// App is the application's name.
	App string
	// Repository is where the image is pushed to: HOST/PATH without tag and digest.
	Repository string
	// MoreValues are values files for a chart that win over Values, and SetValues assignments in the form of Helm's --set
	// that win over all.
	MoreValues, SetValues []string
	// RegistryLogin is for Repository; nil means what Docker's configuration has.
	RegistryLogin Credentials
	// ClusterAccess is the way to the cluster of Cluster.AKS; nil means the kubeconfig.
	ClusterAccess ClusterAccess
	// Git is for the repository of GitOps.Repo.
	Git GitAccess
	// ArgoCD is the API of Argo CD, where the wait goes through it and not through the cluster.
	ArgoCD ArgoCDAccess
	// Network is the way to the environment's servers: registry, git host, API server, Argo CD.
	Network dial.Network
	// Local is the local platform that the environment is on, or nil.
	Local *Local
}

// ImageToSet is what a bump sets in the manifests of the environment: an image, in place of the repositories in replace and of
// what gitops.replace and gitops.images name.
func (e *Environment) ImageToSet(image string, replace []string) manifest.Target {
	target := manifest.Target{Image: image, Replace: slices.Concat(replace, e.GitOps.Replace)}
	for _, i := range e.GitOps.Images {
		target.Keys = append(target.Keys, manifest.Keys(i))
	}
	return target
}

// Credentials gives a user name with a password or token at the moment when it is needed, so that one that expires can
// be renewed.
type Credentials interface {
	Login(context.Context) (username, password string, err error)
}

// ClusterAccess is the way to a cluster that a cloud manages. It is safe for concurrent use.
type ClusterAccess interface {
	// Kubeconfig returns a kubeconfig with the address of the API server. useToken means that Token logs in, and not what
	// the file holds.
	Kubeconfig(context.Context) (content []byte, useToken bool, err error)
	// Token returns a bearer token for the API server, a new one in place of one that has expired.
	Token(context.Context) (string, error)
	// Unreachable says why the API server may not answer this machine, and what to do; "" when nothing is known.
	Unreachable(context.Context) string
}

// Login is a user name with a password that does not change.
type Login struct{ Username, Password string }

// Login implements Credentials.
func (l Login) Login(context.Context) (username, password string, err error) {
	return l.Username, l.Password, nil
}

// Session says what a session of an engine is for.
type Session struct {
	// Cache is where results of builds are kept; nil means only where the engine runs.
	Cache *BuildCache
	// NoCache asks for a session of its own, in which Dockerfiles are built without the results of earlier builds.
	NoCache bool
}

// BuildCache is where the results of builds are kept in a registry, for machines that have none.
type BuildCache struct {
	// Imports are the references that results are taken from, and Export the one that they are written to; "" means that
	// they are only read.
	Imports []string
	Export  string
	// Login is for the registry at Host; nil means what the engine has for it.
	Host  string
	Login Credentials
}

// GitAccess is how a git repository is reached, and how commits are made there.
type GitAccess struct {
	// Login is for HTTPS. Nil means App, then SSHKey, then the user's SSH agent.
	Login Credentials
	// SSHKey is a private key in OpenSSH or PEM form, SSHPassphrase what it is encrypted with, and KnownHosts the host
	// keys in the form of ssh_known_hosts.
	SSHKey, SSHPassphrase, KnownHosts []byte
	// App is a GitHub App's installation.
	App *GitHubApp
	// SigningKey is an OpenPGP or SSH private key that signs commits, SigningPassphrase what it is encrypted with.
	SigningKey, SigningPassphrase []byte
	// AuthorName and AuthorEmail are the author of commits; "" means aksflow.
	AuthorName, AuthorEmail string
}

// GitHubApp is a GitHub App's installation.
type GitHubApp struct {
	AppID, InstallationID int64
	PrivateKey            []byte // PEM
}

// ArgoCDAccess is the address of Argo CD's API server, and a token for it.
type ArgoCDAccess struct{ Server, Token string }

// Local is what the local platform adds to an environment on it.
type Local struct {
	// Repo is the address of the git repository in the configuration. Objects that name it get the address that the
	// local platform's git server has.
	Repo string
	// Dir is the directory that the paths of the git repository stand in on this machine.
	Dir string
	// Seed commits the files of a directory as the first commit of the branch, unless the branch is there. Nil when
	// there is no git server.
	Seed func(ctx context.Context, branch, dir string) error
	// AppURL returns the address at which a browser on this machine opens a Service.
	AppURL func(service, namespace string) string
}

// Release is an image on its way to an environment.
type Release struct {
	Env *Environment
	// Image has a digest; it is zero until it is published, and for a deploy of what the manifests say.
	Image ref.Ref
	// Published reports that the registry has the image, because this run pushed it or looked it up there.
	Published bool
	// Version is the version that the git ref stands for; "" when no ref was asked.
	Version string
	Source  Source
	// Evidence is Markdown that speaks for the image; "" when it was built in this run.
	Evidence string
	// Note is for the record of the delivery in the environment, such as who opened its gates; "" for none.
	Note string
	// RunURL is the page of the CI run, and User is who delivers: USER@HOST. Both are for records; both may be empty.
	RunURL, User string
}
