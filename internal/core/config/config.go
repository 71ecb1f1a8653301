// Package config reads aksflow.yaml: what is built, how it is tested, and which environments it is delivered to.
//
// Where the comment of a field says that variables are expanded, its value may refer to them as in Compose files: ${NAME},
// ${NAME:-default} and ${NAME:?message}. They come from the process's environment, then from the variables of the chosen
// environment.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gate"
)

// The targets: the ways to an environment.
const (
	Push = "push" // aksflow applies the manifests and watches the rollout
	Pull = "pull" // aksflow writes the digest to git; Argo CD or Flux applies it
)

// Targets returns the names of all targets.
func Targets() []string { return []string{Push, Pull} }

// OperatorApplies reports whether an operator in the cluster applies what is delivered to the environment, so that aksflow
// itself only reads there.
func (e *Environment) OperatorApplies() bool { return e.Target == Pull }

// checkTarget checks that the environment has what its target needs. It is not asked for the local platform, which
// provides it.
func (e *Environment) checkTarget(k *checker, field func(...any) []any) {
	if e.Target == Pull && e.GitOps.Repo == "" {
		k.errorf(field("gitops", "repo"), "missing: target pull writes to a git repository")
	}
}

// The operators that follow a git repository.
const (
	ArgoCD = "argocd"
	Flux   = "flux"
)

// LocalPlatform is the Environment.Platform whose registry, cluster and git server are those of `aksflow up`.
const LocalPlatform = "local"

// Extension is how the keys at the top of aksflow.yaml begin that are the user's own, as in Compose files: they hold what
// anchors refer to, and nothing reads them.
const Extension = "x-"

// Config is a whole aksflow.yaml.
type Config struct {
	// App names the application: a DNS label (RFC 1123), as in objects' names and labels.
	App string `yaml:"app"`
	// Image is the repository's path below an environment's registry. Empty: App.
	Image string `yaml:"image"`
	Build Build  `yaml:"build"`
	Test  Test   `yaml:"test"`
	// Flow is a branch model: GitFlow, GitHubFlow or Trunk. It says which git refs the environments dev, staging and
	// production get, and which is promoted from which, where they do not say it themselves. Empty: they say it.
	Flow string `yaml:"flow"`
	// Environments by name. Names gives them in the order of the file.
	Environments map[string]*Environment `yaml:"environments"`

	file *document
}

// CacheRegistry is the Build.Cache that keeps results in a registry.
const CacheRegistry = "registry"

// Build says how the image is made.
type Build struct {
	// Context is the directory with the sources of the image, relative to aksflow.yaml. Empty: ".".
	Context string `yaml:"context"`
	// Dockerfile is its path below Context. Empty: "Dockerfile".
	Dockerfile string `yaml:"dockerfile"`
	// Target is the stage that becomes the image. Empty: the last one.
	Target string `yaml:"target"`
	// Platform is what the image is built for, such as linux/arm64. Empty: the engine's own.
	Platform string `yaml:"platform"`
	// Args are the values of the Dockerfile's ARG instructions; variables are expanded. A Dockerfile that declares ARG
	// REVISION or ARG SOURCE_DATE_EPOCH gets the commit's hash or time unless they stand here.
	Args map[string]string `yaml:"args"`
	// Secrets are mounted for RUN --mount=type=secret,id=NAME.
	Secrets map[string]Secret `yaml:"secrets"`
	// Cache is registry: what builds made is kept in the environment's registry, beside the image, for machines that never
	// built the app. Empty: only where the engine runs.
	Cache string `yaml:"cache"`
	// Refresh is how long an image of a source is used before it is built again, so that its packages are those of today:
	// 12h, 7d. Empty: until something changes.
	Refresh string `yaml:"refresh"`

	// Unset is what Expand found missing here. It is for those who build; others need no variable of this part.
	Unset error `yaml:"-"`
}

// Secret says where a secret's value comes from: one of the two.
type Secret struct {
	Env  string `yaml:"env"`  // the name of a variable in the process's environment
	File string `yaml:"file"` // a file, relative to aksflow.yaml
}

// Test says how the image is tested. Without suites there is nothing to test.
type Test struct {
	Unit        *Suite `yaml:"unit"`
	Integration *Suite `yaml:"integration"`
	// App is how the image under test runs for the integration tests.
	App TestApp `yaml:"app"`
	// Services run beside it.
	Services []Service `yaml:"services"`

	// Warnings are what Expand noticed: values that look like secrets and would become public.
	Warnings []string `yaml:"-"`
	// Unset is what Expand found missing here. It is for those who test.
	Unset error `yaml:"-"`
}

// Suite is a stage of the Dockerfile that runs tests and writes JUnit XML.
type Suite struct {
	Target  string   `yaml:"target"`
	Command []string `yaml:"command"` // empty: the stage's own
	Reports string   `yaml:"reports"` // directory in the container; empty: /reports
	// Env is public: results are remembered under it. Variables are expanded.
	Env map[string]string `yaml:"env"`
	// Secrets are set beside Env, under their names. Their values enter no key and no log.
	Secrets map[string]Secret `yaml:"secrets"`
	// Cache lists directories in the container that keep their content from run to run, such as /root/.cache/pip.
	Cache []string `yaml:"cache"`
}

// TestApp is how the image under test runs.
type TestApp struct {
	Name    string            `yaml:"name"`    // the host name by which the tests reach it; empty: app
	Port    int               `yaml:"port"`    // TCP; 0: the one that the image exposes or, if it exposes none, 8080
	Env     map[string]string `yaml:"env"`     // as that of a Suite
	Secrets map[string]Secret `yaml:"secrets"` // as those of a Suite
	// StartTimeout is how long it may take until it is ready, such as 2m. 0: one minute.
	StartTimeout time.Duration `yaml:"startTimeout"`
}

// Service is a server that the integration tests need. Image or Target is set.
type Service struct {
	Name   string            `yaml:"name"`   // its host name
	Image  string            `yaml:"image"`  // a reference; variables are expanded
	Target string            `yaml:"target"` // a stage of the Dockerfile
	Args   []string          `yaml:"args"`
	Env    map[string]string `yaml:"env"` // as that of a Suite
	// Secrets are as those of a Suite.
	Secrets map[string]Secret `yaml:"secrets"`
	Ports   []int             `yaml:"ports"` // TCP ports that must answer, beside those that the image exposes
	// StartTimeout is how long it may take until it is ready, such as 2m. 0: one minute.
	StartTimeout time.Duration `yaml:"startTimeout"`
}

// Environment is a place that the app is delivered to.
type Environment struct {
	// Name is its key in the file.
	Name string `yaml:"-"`
	// Branches and Tags are patterns of the git refs that are delivered here: * matches anything without a slash, **
	// anything. The tag of a pre-release, v1.2.0-rc.1, is matched by patterns that name the pre-release only, as v*-* does.
	Branches []string `yaml:"branches"`
	Tags     []string `yaml:"tags"`
	// From names the environment that the image comes from: a delivery takes the digest that runs there, and builds
	// nothing. Empty: the image is built.
	From string `yaml:"from"`
	// Gates are what must hold before an image of From is promoted here.
	Gates gate.Gates `yaml:"gates"`
	// Platform is LocalPlatform, or empty.
	Platform string `yaml:"platform"`
	// Target is one of Targets. Empty: Push.
	Target string `yaml:"target"`
	// Registry is the registry's host, and a path below it if need be: myacr.azurecr.io. Variables are expanded.
	Registry string `yaml:"registry"`
	// Manifests is what is deployed: a kustomization, a Helm chart or a directory of manifests, relative to aksflow.yaml.
	Manifests string `yaml:"manifests"`
	// Values, ValuesFiles and ReleaseName are for Manifests that are a Helm chart: values as in values.yaml, values files
	// relative to aksflow.yaml (a later file wins over an earlier one, and Values wins over all), and .Release.Name.
	// Empty ReleaseName: the chart's name.
	Values      map[string]any `yaml:"values"`
	ValuesFiles []string       `yaml:"valuesFiles"`
	ReleaseName string         `yaml:"releaseName"`
	// Namespace is where objects go that name no namespace, and a chart's .Release.Namespace.
	Namespace string `yaml:"namespace"`
	// Namespaces are further namespaces that objects of Manifests may name; push target only.
	Namespaces []string `yaml:"namespaces"`
	Cluster    Cluster  `yaml:"cluster"`
	// Rollout is how the new version takes over from the old one; push target only.
	Rollout Rollout `yaml:"rollout"`
	// GitOps is what the operator follows; pull target only.
	GitOps GitOps `yaml:"gitops"`
	// Sign is how the proofs of what is delivered here are signed: tests, SBOM, provenance, and that it did well. Empty: they
	// are attached without a signature.
	Sign *Sign `yaml:"sign"`
	// Verify is what an image must have before it is deployed here. Empty: nothing is verified.
	Verify *Verify `yaml:"verify"`
	// Variables are used where values of this file are expanded and the process's environment does not have them.
	// Their own values may refer to the process's environment and, with LocalPlatform, to AKSFLOW_REGISTRY.
	Variables map[string]string `yaml:"variables"`
}

// Cluster is how the cluster is reached: by a kubeconfig or by AKS. Empty: as kubectl would.
type Cluster struct {
	Kubeconfig string `yaml:"kubeconfig"` // variables are expanded
	Context    string `yaml:"context"`    // variables are expanded
	// AKS is the cluster in place of a kubeconfig: Azure gives its address, and the login to Azure is the one to the cluster.
	AKS *AKS `yaml:"aks"`
}

// AKS names a cluster of Azure Kubernetes Service. Variables are expanded in all values.
type AKS struct {
	Subscription  string `yaml:"subscription"` // its ID
	ResourceGroup string `yaml:"resourceGroup"`
	Name          string `yaml:"name"`
}

// The rollout strategies.
const (
	Rolling   = "rolling"    // as the Deployment itself says
	Canary    = "canary"     // a growing part of the traffic
	BlueGreen = "blue-green" // the Service turns when the new version is ready beside the old one
)

// Rollout is how a new version takes over.
type Rollout struct {
	Strategy string        `yaml:"strategy"` // empty: Rolling
	Percent  []int         `yaml:"percent"`  // a canary's stages, growing; empty: 10, 50
	Pause    time.Duration `yaml:"pause"`    // how long each stage is watched, such as 30s
	Hold     bool          `yaml:"hold"`     // stop at the first stage, for resume or abort
	Smoke    []Smoke       `yaml:"smoke"`    // what each stage must answer
}

// Smoke is an HTTP request to a Service through the API server.
type Smoke struct {
	Service string `yaml:"service"` // empty: the one in front of the app
	Port    string `yaml:"port"`    // a name or number; empty: the Service's first
	Path    string `yaml:"path"`    // empty: /
	Status  int    `yaml:"status"`  // wanted; 0: 200
	Body    string `yaml:"body"`    // must be in the answer
}

// GitOps is what the operator in the cluster follows.
type GitOps struct {
	Repo     string `yaml:"repo"`   // the URL that is pushed to; variables are expanded
	Branch   string `yaml:"branch"` // empty: main
	Path     string `yaml:"path"`   // what a bump may change; empty: Manifests
	Operator string `yaml:"operator"`
	// Namespace and Name are those of the Argo CD Application or the Flux Kustomization. Empty: found by Repo and Path.
	Namespace   string `yaml:"namespace"`
	Application string `yaml:"application"`
	// Setup are the objects that make the operator follow Repo, written as Manifests are. On the local platform a delivery
	// applies them, with the address of the platform's repository wherever they name Repo; elsewhere they are the
	// cluster's owner's to apply.
	Setup string `yaml:"setup"`
	// Replace are repositories under which the image stands in the manifests, besides its own: vote,
	// ghcr.io/team/vote. A name without a host matches on any registry.
	Replace []string `yaml:"replace"`
	// Images name the keys of references in shapes that a bump does not recognise.
	Images []ImageKeys `yaml:"images"`
	// PullRequest proposes the change instead of pushing it.
	PullRequest bool `yaml:"pullRequest"`
	// Username and PasswordEnv are the credentials: PasswordEnv names a variable in the process's environment.
	Username    string `yaml:"username"`
	PasswordEnv string `yaml:"passwordEnv"`
}

// ImageKeys name where one reference stands in a file. A path is keys with dots between them and the indexes of lists in
// brackets: web.containers[0].version. A dot that belongs to a key has a backslash before it.
type ImageKeys struct {
	File string `yaml:"file"` // relative to GitOps.Path
	// Image is the path of a whole reference. It stands alone.
	Image string `yaml:"image"`
	// Registry, Repository, Tag and Digest are the paths of a reference's parts.
	Registry   string `yaml:"registry"`
	Repository string `yaml:"repository"`
	Tag        string `yaml:"tag"`
	Digest     string `yaml:"digest"`
	// Where is the entry's own place, aksflow.yaml:12.
	Where string `yaml:"-"`
}

// Load reads and checks a file. Its errors are usage errors (fault.Usage) and name the line of each mistake.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.Usagef("there is no %s: run aksflow where it is, or name it with --config", path)
	}
	if errors.Is(err, syscall.EISDIR) {
		return nil, fault.Usagef("%s is a directory: name the file in it, such as %s", path, filepath.Join(path, "aksflow.yaml"))
	}
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("reading the configuration: %w", err))
	}
	return Parse(path, data)
}

// Path is the file that was read; "" for a Config that was put together in code.
func (c *Config) Path() string {
	if c.file == nil {
		return ""
	}
	return c.file.path
}

// Dir is the directory that the file's relative paths start from.
func (c *Config) Dir() string { return filepath.Dir(c.Path()) }

// Abs returns a path of the file as one that can be opened.
func (c *Config) Abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Dir(), path)
}

// Names are the environments' names in the order of the file.
func (c *Config) Names() []string { return c.file.keys("environments") }

// FixedBranches are the branches that environments are delivered from, where they are named and no pattern, in the order of the
// file.
func (c *Config) FixedBranches() []string {
	var names []string
	for _, env := range c.Names() {
		for _, pattern := range c.Environments[env].Branches {
			if !strings.ContainsAny(pattern, `*?[{\`) {
				names = append(names, pattern)
			}
		}
	}
	return names
}

// Parse is Load for a file's text; path is what the errors call it, and its directory is Dir.
func Parse(path string, data []byte) (*Config, error) {
	c := &Config{}
	doc, err := decode(path, data, c)
	if err != nil {
		return nil, fault.Usage(err)
	}
	c.file = doc
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, fault.Usage(err)
	}
	return c, nil
}

func (c *Config) setDefaults() {
	empty := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	empty(&c.Image, c.App)
	empty(&c.Build.Context, ".")
	empty(&c.Build.Dockerfile, "Dockerfile")
	for name, e := range c.Environments {
		if e == nil {
			e = &Environment{}
			c.Environments[name] = e
		}
		e.Name = name
		empty(&e.Target, Push)
		empty(&e.Rollout.Strategy, Rolling)
		empty(&e.GitOps.Branch, "main")
		empty(&e.GitOps.Path, filepath.ToSlash(e.Manifests))
		empty(&e.GitOps.Operator, ArgoCD)
		for i := range e.GitOps.Images {
			e.GitOps.Images[i].Where = c.file.where("environments", name, "gitops", "images", i)
		}
	}
	c.applyFlow()
}
