// Package localplatform is the client of the local platform: an image registry, a git server over smart HTTP, Kubernetes
// with real containers, and Argo CD or Flux on one Linux machine. `aksflow up` and the end-to-end tests start the same
// one.
//
// The platform itself is the program aksflow-platform (package server), which this package starts. The aksflow command
// that CI runs holds only the client.
package localplatform

import (
	"fmt"
	"net/url"
	"time"
)

// Part is something that Up can start.
type Part string

const (
	// Registry is an OCI registry over plain HTTP.
	Registry Part = "registry"
	// Git is a git server over smart HTTP that asks for a password.
	Git Part = "git"
	// Kubernetes is a cluster of one node. Brings Registry. RBAC, Pod Security admission, volumes and DNS work as in any
	// cluster. NetworkPolicy objects are accepted but not enforced. Pods reach nothing outside the cluster. Images of
	// Docker Hub come from the registry, which has debian:trixie-slim and redis:8.
	Kubernetes Part = "kubernetes"
	// ArgoCD is the application controller, the ApplicationSet controller and the repository server. Brings Kubernetes
	// and Git.
	ArgoCD Part = "argocd"
	// ArgoCDServer is Argo CD's own API. Brings ArgoCD.
	ArgoCDServer Part = "argocd-server"
	// Flux is its source controller and kustomize controller. Brings Kubernetes and Git.
	Flux Part = "flux"
	// Azure is a stand-in for Azure: Microsoft Entra, the resource manager, a container registry, and clusters whose API
	// server is the platform's. Brings Kubernetes.
	Azure Part = "azure"
)

// Options say what to start. The zero value starts nothing useful: State is required.
type Options struct {
	// State is the directory that holds everything the platform writes. It is made if it does not exist. One platform
	// runs for each directory.
	State string

	// Parts to start, with what they bring. None means Registry, Git, Kubernetes and ArgoCD.
	Parts []Part

	// FreePorts uses free ports instead of the well-known ones, so that several platforms can run at once. Without it,
	// only a well-known port that is in use is replaced by a free one, with a warning.
	FreePorts bool

	// RegistryUser and RegistryPassword, if set, are required by the registry. The node has them; all others must log in.
	RegistryUser, RegistryPassword string

	// Cache is the directory for base images, which all platforms of a user share. Empty means aksflow's directory in the
	// user's cache directory.
	Cache string

	// ArgoCDPoll is how often Argo CD asks git for changes. Zero means its own default of 120 s (and up to 60 s of
	// jitter).
	ArgoCDPoll time.Duration

	// AzureTokens is how long the ID tokens live that the stand-in for Azure gives to CI jobs. Zero means five minutes, as
	// GitHub's.
	AzureTokens time.Duration
}

// Info describes a running platform: where it listens. It is stored as JSON in STATE/info.json, which only its owner can read.
type Info struct {
	State   string    `json:"state"`
	PID     int       `json:"pid"` // of the keeper; when it ends, the platform ends
	Parts   []Part    `json:"parts"`
	Started time.Time `json:"started"`

	// Registry is host:port, as in image references: localhost:5000.
	Registry string `json:"registry"`

	// Git is the URL below which repositories are: Git + "/vote.git".
	Git             string `json:"git,omitempty"`
	GitUser         string `json:"gitUser,omitempty"`
	GitPasswordFile string `json:"gitPasswordFile,omitempty"` // holds the password and nothing else

	// Kubeconfig is a file with an administrator's access. The user's own kubeconfig is never touched.
	Kubeconfig string `json:"kubeconfig,omitempty"`

	// Apps is the port that serves every Service of the cluster; the host name selects the Service. See AppURL.
	Apps int `json:"apps,omitempty"`

	ArgoCDNamespace    string `json:"argocdNamespace,omitempty"`
	ArgoCD             string `json:"argocd,omitempty"`             // URL of its API; with ArgoCDServer only
	ArgoCDPasswordFile string `json:"argocdPasswordFile,omitempty"` // of its user admin; with ArgoCDServer only

	FluxNamespace string `json:"fluxNamespace,omitempty"`

	Azure *AzureInfo `json:"azure,omitempty"`
}

// AzureInfo says how the stand-in for Azure is reached: by the proxy, under the real names.
type AzureInfo struct {
	Proxy    string `json:"proxy"`    // URL
	CAFile   string `json:"caFile"`   // the certificate to trust
	EnvFile  string `json:"envFile"`  // a shell that sources it is a job of a workflow
	KeyFile  string `json:"keyFile"`  // holds the key for changes
	Registry string `json:"registry"` // its login server
}

// Has reports whether p runs.
func (i *Info) Has(p Part) bool {
	for _, have := range i.Parts {
		if have == p {
			return true
		}
	}
	return false
}

// AppURL returns the address at which a browser on this machine opens a Service of the cluster (its first port). Browsers
// and curl resolve names below localhost to loopback addresses. Other programs dial localhost and set the Host header.
func (i *Info) AppURL(service, namespace string) string {
	return fmt.Sprintf("http://%s.%s.localhost:%d/", service, namespace, i.Apps)
}

// RepositoryURL returns the URL of the repository name, which has no .git, for clone and push.
func (i *Info) RepositoryURL(name string) string {
	u, err := url.JoinPath(i.Git, name+".git")
	if err != nil { // Git comes from the platform, so it is well formed
		panic(err)
	}
	return u
}
