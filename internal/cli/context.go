package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"dagger.io/dagger"
	"github.com/spf13/pflag"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/localplatform"
)

// place is where a verb delivers to, and the credentials for it: the environment of aksflow.yaml that --env names, with
// what the verb's own flags replace.
type place struct {
	g *globals

	env         string
	buildArgs   []string
	username    string
	passwordEnv string
	kubeconfig  string
	kubeContext string
}

func (p *place) envFlag(f *pflag.FlagSet) {
	f.StringVarP(&p.env, "env", "e", "", "the environment of aksflow.yaml")
}

func (p *place) buildFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&p.buildArgs, "build-arg", nil, "NAME=VALUE for an ARG of the Dockerfile; NAME alone takes the value from the environment")
}

func (p *place) registryFlags(f *pflag.FlagSet) {
	f.StringVar(&p.username, "username", "", "the registry's user (default: what the Docker configuration has)")
	f.StringVar(&p.passwordEnv, "password-env", "", "name of the environment variable that holds the registry's password")
}

func (p *place) clusterFlags(f *pflag.FlagSet) {
	f.StringVar(&p.kubeconfig, "kubeconfig", "", "the cluster's kubeconfig (default: as kubectl)")
	f.StringVar(&p.kubeContext, "context", "", "a context of the kubeconfig (default: the current one)")
}

// stateDirs returns the folders of the engine's and the platform's state.
func (g *globals) stateDirs() (state, local string, err error) {
	state, err = engine.StateDir(g.state)
	return state, filepath.Join(state, "platform"), err
}

// delivery reads the configuration for the place. The function that is returned closes what was opened.
func (p *place) delivery(ctx context.Context) (*flow.Delivery, func(), error) {
	none := func() {}
	cfg, err := config.Load(p.g.config)
	if err != nil {
		return nil, none, err
	}
	env := cfg.Environments[p.env]
	if p.env != "" && env == nil {
		return nil, none, fault.Usagef("--env %s: %s has %s", p.env, cfg.Path(), enumerate(cfg.Names()))
	}
	lookup := os.LookupEnv
	var local *localplatform.Info
	if env != nil && env.Platform == config.LocalPlatform {
		if local, err = p.g.platform(); err != nil {
			return nil, none, err
		}
		lookup = func(name string) (string, bool) {
			if name == "AKSFLOW_REGISTRY" {
				return local.Registry, true
			}
			return os.LookupEnv(name)
		}
	}
	if cfg, err = cfg.Expand(p.env, lookup); err != nil {
		return nil, none, err
	}
	d := &flow.Delivery{Config: cfg, Environment: cfg.Environments[p.env], RunURL: runURL()}
	if d.BuildArgs, err = parseBuildArgs(p.buildArgs); err != nil {
		return nil, none, err
	}
	if err := p.credentials(d, local); err != nil {
		return nil, none, err
	}
	client, closeSession := p.g.session()
	d.Client = client
	return d, closeSession, nil
}

// credentials completes the delivery with what the platform knows and with what flags and the environment say.
func (p *place) credentials(d *flow.Delivery, local *localplatform.Info) error {
	var err error
	if d.Registry.Password, err = fromEnv("--password-env", p.passwordEnv); err != nil {
		return err
	}
	d.Registry.Username = p.username
	if (p.username == "") != (p.passwordEnv == "") {
		return fault.Usagef("--username and --password-env go together")
	}
	if d.Environment == nil {
		return nil
	}
	e := *d.Environment
	d.Environment = &e
	if local != nil {
		password, err := os.ReadFile(local.GitPasswordFile)
		if err != nil && local.GitPasswordFile != "" {
			return err
		}
		e.Registry, e.Cluster.Kubeconfig = local.Registry, local.Kubeconfig
		if e.GitOps.Setup != "" {
			d.SetupRepo = e.GitOps.Repo
		}
		if local.Git != "" {
			e.GitOps.Repo = local.RepositoryURL(d.Config.App)
		}
		d.GitUser, d.GitPassword = local.GitUser, strings.TrimSpace(string(password))
	} else {
		d.GitUser = e.GitOps.Username
		if d.GitPassword, err = fromEnv("gitops.passwordEnv", e.GitOps.PasswordEnv); err != nil && e.Target == config.Pull {
			return err
		}
	}
	if p.kubeconfig != "" {
		if e.Cluster.Kubeconfig, err = filepath.Abs(p.kubeconfig); err != nil {
			return err
		}
	}
	if p.kubeContext != "" {
		e.Cluster.Context = p.kubeContext
	}
	return nil
}

// platform is the local platform that runs, or an error with the remedy.
func (g *globals) platform() (*localplatform.Info, error) {
	_, dir, err := g.stateDirs()
	if err != nil {
		return nil, err
	}
	info, err := localplatform.Load(dir)
	return info, fault.Usage(err)
}

// session returns a function that connects to an engine when it is called first, and one that closes the connection.
func (g *globals) session() (func(context.Context) (*dagger.Client, error), func()) {
	var mu sync.Mutex
	var s *engine.Session
	connect := func(ctx context.Context) (*dagger.Client, error) {
		mu.Lock()
		defer mu.Unlock()
		if s == nil {
			var err error
			if s, err = engine.Connect(ctx, engine.Options{Engine: g.engine, State: g.state}); err != nil {
				return nil, err
			}
		}
		return s.Client(), nil
	}
	return connect, func() {
		mu.Lock()
		defer mu.Unlock()
		if s != nil {
			_ = s.Close()
		}
	}
}

// need is an error unless the environment was named.
func (p *place) need(names []string) error {
	if p.env != "" {
		return nil
	}
	return fault.Usagef("which environment? Name one with --env: %s", enumerate(names))
}

func enumerate(names []string) string {
	if len(names) == 0 {
		return "no environments"
	}
	return strings.Join(names, ", ")
}

// fromEnv is the value of a variable that a flag or a key names.
func fromEnv(what, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	value, ok := os.LookupEnv(name)
	if !ok {
		return "", fault.Usagef("%s %s: the environment has no such variable", what, name)
	}
	return value, nil
}

func parseBuildArgs(args []string) (map[string]string, error) {
	out := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if name == "" {
			return nil, fault.Usagef("--build-arg %q: want NAME=VALUE", arg)
		}
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue // as docker build: a variable that is not set is not passed
			}
		}
		out[name] = value
	}
	return out, nil
}

// runURL is the page of the CI run that this process is a part of, where it can be told.
func runURL() string {
	if server, repo, id := os.Getenv("GITHUB_SERVER_URL"), os.Getenv("GITHUB_REPOSITORY"), os.Getenv("GITHUB_RUN_ID"); server != "" && repo != "" && id != "" {
		return server + "/" + repo + "/actions/runs/" + id
	}
	for _, name := range []string{"BUILD_URL" /* Jenkins */, "CI_JOB_URL" /* GitLab */} {
		if url := os.Getenv(name); url != "" {
			return url
		}
	}
	if server, project, id := os.Getenv("SYSTEM_COLLECTIONURI"), os.Getenv("SYSTEM_TEAMPROJECT"), os.Getenv("BUILD_BUILDID"); server != "" && id != "" {
		return server + project + "/_build/results?buildId=" + id // Azure Pipelines
	}
	return ""
}

var errNoImage = errors.New("name the image with --image")
