// Package resolve puts an environment together: what aksflow.yaml says about it, what flags say in its place, the local platform,
// and the credentials.
package resolve

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/flow/access"
)

// Azure gives logins. Nothing is sent before one is used.
type Azure interface {
	// Registry returns the login for a container registry; nil where Azure has none for this host. ambient means that it
	// is this machine's user who is logged in, so that Docker's own login for the registry comes first.
	Registry(host string) (login delivery.Credentials, ambient bool)
	// Cluster returns the way to an AKS cluster.
	Cluster(config.AKS) delivery.ClusterAccess
}

// Settings replace what aksflow.yaml says about an environment, where they are not empty. Enough of them stand for an
// aksflow.yaml.
type Settings struct {
	App                                      string
	Target                                   string
	Repository                               string // HOST/PATH to push to
	Username, PasswordEnv                    string // of the registry
	Manifests, Namespace                     string
	Kubeconfig, Context                      string
	ReleaseName                              string
	ValuesFiles, Values                      []string // files; KEY=VALUE as Helm's --set reads them
	Repo, Branch, Path                       string   // what the operator follows
	PullRequest                              bool
	GitUsername, GitPasswordEnv, Application string
	Strategy                                 string
	Percent                                  []int
	Pause                                    time.Duration
	Hold                                     bool
}

// StandAlone reports whether the settings say enough to do without an aksflow.yaml.
func (s Settings) StandAlone() bool {
	return s.Repository != "" || s.Repo != "" || s.App != "" && (s.Manifests != "" || s.Namespace != "")
}

// LocalPlatform is what runs on this machine for environments with platform: local.
type LocalPlatform struct {
	// Registry is HOST:PORT.
	Registry   string
	Kubeconfig string
	// GitURL returns the address of an app's repository. It is nil without a git server, as Seed is.
	GitURL               func(app string) string
	GitUser, GitPassword string
	Seed                 func(ctx context.Context, app, branch, dir string) error
	// AppURL returns the address at which a browser on this machine opens a Service.
	AppURL func(service, namespace string) string
}

// Inputs are what an environment is put together from, beside aksflow.yaml.
type Inputs struct {
	Settings Settings
	// Local is the local platform; nil for an environment that is not on it.
	Local *LocalPlatform
	// Azure logs in to an AKS cluster. Nil where nothing is to be reached there.
	Azure Azure
	// Access finds the credentials.
	Access access.Source
	// Network is the way to all servers.
	Network dial.Network
}

// Environment puts together the environment that aksflow.yaml describes as from. Paths in it are those of this machine. It is an
// error if the repository is none, and if a cluster on AKS has nothing that logs in to it.
func Environment(c *config.Config, from *config.Environment, in Inputs) (*delivery.Environment, error) {
	env := &delivery.Environment{Environment: *from, App: c.App, Network: in.Network}
	for _, path := range []*string{&env.Manifests, &env.GitOps.Setup, &env.Cluster.Kubeconfig} {
		if *path != "" {
			*path = c.Abs(*path)
		}
	}
	env.ValuesFiles = make([]string, 0, len(from.ValuesFiles))
	for _, file := range from.ValuesFiles {
		env.ValuesFiles = append(env.ValuesFiles, c.Abs(file))
	}
	set := in.Settings
	if err := in.Access.Fill(env, access.Flags{
		Username: set.Username, PasswordEnv: set.PasswordEnv, GitUsername: set.GitUsername, GitPasswordEnv: set.GitPasswordEnv,
	}); err != nil {
		return nil, err
	}
	if in.Local != nil {
		onLocalPlatform(env, c, in.Local)
	}
	set.replace(env)
	if env.Repository == "" && env.Registry != "" {
		env.Repository = env.Registry + "/" + c.Image
	}
	if _, err := ref.Parse(cmp.Or(env.Repository, "none")); err != nil {
		return nil, fault.Usage(err)
	}
	return env, onAKS(env, in.Azure)
}

// onAKS sets the way to an AKS cluster, unless a flag names another cluster.
func onAKS(env *delivery.Environment, azure Azure) error {
	if env.Cluster.AKS == nil || env.Cluster.Kubeconfig != "" || env.Cluster.Context != "" {
		return nil
	}
	if azure == nil {
		return fault.Usagef("the environment %s is on AKS, and there is no login to Azure here: name a kubeconfig", env.Name)
	}
	env.ClusterAccess = azure.Cluster(*env.Cluster.AKS)
	return nil
}

// onLocalPlatform points the environment to the local platform.
func onLocalPlatform(env *delivery.Environment, c *config.Config, local *LocalPlatform) {
	env.Registry, env.Cluster.Kubeconfig = local.Registry, local.Kubeconfig
	env.Local = &delivery.Local{Repo: env.GitOps.Repo, Dir: c.Dir(), AppURL: local.AppURL}
	// The port of the registry may be another one than the manifests name: the image's name on any host is meant.
	env.GitOps.Replace = append(slices.Clone(env.GitOps.Replace), c.Image)
	if local.GitURL == nil {
		return
	}
	env.GitOps.Repo = local.GitURL(env.App)
	env.Git.Login = delivery.Login{Username: local.GitUser, Password: local.GitPassword}
	env.Local.Seed = func(ctx context.Context, branch, dir string) error { return local.Seed(ctx, env.App, branch, dir) }
}

// replace puts the settings into the environment.
func (s Settings) replace(env *delivery.Environment) {
	for _, setting := range []struct {
		to   *string
		from string
	}{
		{&env.App, s.App}, {&env.Target, s.Target}, {&env.Repository, s.Repository},
		{&env.Manifests, s.Manifests}, {&env.Namespace, s.Namespace}, {&env.ReleaseName, s.ReleaseName},
		{&env.Cluster.Kubeconfig, s.Kubeconfig}, {&env.Cluster.Context, s.Context},
		{&env.GitOps.Repo, s.Repo}, {&env.GitOps.Branch, s.Branch}, {&env.GitOps.Path, s.Path},
		{&env.GitOps.Application, s.Application},
	} {
		*setting.to = cmp.Or(setting.from, *setting.to)
	}
	env.GitOps.PullRequest = env.GitOps.PullRequest || s.PullRequest
	rollout := &env.Rollout
	if s.Strategy != "" && s.Strategy != rollout.Strategy {
		rollout.Strategy, rollout.Percent = s.Strategy, nil
	}
	if len(s.Percent) > 0 {
		rollout.Percent = s.Percent
	}
	rollout.Pause = cmp.Or(s.Pause, rollout.Pause)
	rollout.Hold = rollout.Hold || s.Hold

	env.MoreValues, env.SetValues = s.ValuesFiles, s.Values
}
