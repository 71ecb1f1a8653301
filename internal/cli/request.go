package cli

import (
	"cmp"
	"context"
	"crypto"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"

	"dagger.io/dagger"
	"github.com/spf13/pflag"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/flow/resolve"
	"github.com/aksflow/aksflow/internal/localplatform"
)

// request collects a verb's flags for package flow.
type request struct {
	g *globals
	flow.Request
	buildArgs []string
	made      string
	cloud     *azure.Client
}

func (r *request) envFlag(f *pflag.FlagSet) {
	f.StringVarP(&r.Env, "env", "e", "", "the environment of aksflow.yaml")
}

func (r *request) buildFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&r.buildArgs, "build-arg", nil, "NAME=VALUE for an ARG of the Dockerfile; NAME alone takes the value from the environment")
}

// madeFlag is for the Dagger module, which builds and tests with the engine that it runs in.
func (r *request) madeFlag(f *pflag.FlagSet) {
	const name = "made"
	f.StringVar(&r.made, name, "", "what another program built and tested of this source: a JSON `FILE`, with the image beside it")
	_ = f.MarkHidden(name) // it is there
}

func (r *request) rebuildFlag(f *pflag.FlagSet) {
	f.BoolVar(&r.Rebuild, "rebuild", false, "build the image again, without what an engine remembers, though the registry has one of this source")
}

func (r *request) retestFlag(f *pflag.FlagSet) {
	f.BoolVar(&r.Retest, "retest", false, "run the tests again, though the image passed them")
}

func (r *request) registryFlags(f *pflag.FlagSet) {
	f.StringVar(&r.Set.Username, "username", "", "the registry's user (default: what the Docker configuration has)")
	f.StringVar(&r.Set.PasswordEnv, "password-env", "", "name of the environment variable that holds the registry's password")
}

func (r *request) clusterFlags(f *pflag.FlagSet) {
	f.StringVar(&r.Set.Kubeconfig, "kubeconfig", "", "the cluster's kubeconfig (default: as kubectl)")
	f.StringVar(&r.Set.Context, "context", "", "a context of the kubeconfig (default: the current one)")
}

// appFlags say where an app is, with or without an aksflow.yaml.
func (r *request) appFlags(f *pflag.FlagSet) {
	f.StringVarP(&r.Set.Namespace, "namespace", "n", "", "where the app is (default: that of the environment)")
	f.StringVar(&r.Set.App, "app", "", "the app's name, when there is no aksflow.yaml")
}

// renderFlags say what is rendered, and how. The flags for Helm charts are Helm's own.
func (r *request) renderFlags(f *pflag.FlagSet) {
	f.StringVar(&r.Set.Manifests, "manifests", "", "a kustomization, a Helm chart or a directory (default: that of the environment)")
	f.StringArrayVarP(&r.Set.ValuesFiles, "values", "f", nil, "for a Helm chart: values from this `FILE` (may be repeated; a later one wins)")
	f.StringArrayVar(&r.Set.Values, "set", nil, "for a Helm chart: set a value, `KEY=VALUE`, over those of files (may be repeated)")
	f.StringVar(&r.Set.ReleaseName, "release-name", "", "for a Helm chart: the name of the release (default: that of the chart)")
	r.replaceFlag(f)
}

func (r *request) replaceFlag(f *pflag.FlagSet) {
	f.StringArrayVar(&r.Options.Replace, "replace", nil, "set the image where this repository `NAME` stands (default: the image's own)")
}

func (r *request) graceFlag(f *pflag.FlagSet) {
	f.DurationVar(&r.Options.Grace, "grace", 0, "how long a problem that may go away is watched before it counts (default: by its kind)")
}

// recordFlags say what records and commits name as the origin.
func (r *request) recordFlags(f *pflag.FlagSet) {
	f.StringVar(&r.User, "user", "", "who delivers, for the record (default: $AKSFLOW_USER, else USER@HOST)")
	f.StringVar(&r.RunURL, "run-url", "", "the page of the CI run, for the record (default: $AKSFLOW_RUN_URL, else what the CI system says)")
}

// applyFlags decide what may happen to objects that exist.
func (r *request) applyFlags(f *pflag.FlagSet) {
	o := &r.Options.Push
	f.BoolVar(&o.ForceConflicts, "force-conflicts", false, "take over fields that another manager owns")
	f.BoolVar(&o.Recreate, "recreate", false, "delete and create again what cannot be changed in place; what a --prune flag names, only with that flag too")
	f.BoolVar(&o.NoPrune, "no-prune", false, "keep what left the manifests")
	r.pruneFlags(f)
}

// pruneFlags name what is deleted only when it is asked for by name.
func (r *request) pruneFlags(f *pflag.FlagSet) {
	o := &r.Options.Push
	f.BoolVar(&o.PruneNamespaces, "prune-namespaces", false, "also delete namespaces that left the manifests, with all that is in them")
	f.BoolVar(&o.PruneVolumes, "prune-volumes", false, "also delete volumes and claims that left the manifests, with their data")
	f.BoolVar(&o.PruneDefinitions, "prune-definitions", false, "also delete custom resource definitions that left the manifests, with all objects of their kinds in every namespace")
	f.BoolVar(&o.PruneKept, "prune-kept", false, "also delete objects that left the manifests and that an annotation says to keep (helm.sh/resource-policy)")
}

func (r *request) rolloutFlags(f *pflag.FlagSet) {
	f.BoolVar(&r.Options.Push.NoRollback, "no-rollback", false, "leave a failed deploy as it is, for debugging")
	f.Var(&strategyFlag{&r.Set.Strategy}, "strategy", "rolling, canary or blue-green")
	f.IntSliceVar(&r.Set.Percent, "percent", nil, "the stages of a canary, such as 10,50")
	f.DurationVar(&r.Set.Pause, "pause", 0, "how long each stage is watched before the next")
	f.BoolVar(&r.Set.Hold, "hold", false, "stop at the first stage, for `aksflow resume` or `aksflow abort`")
}

// strategyFlag is a flag value that takes the known strategies only.
type strategyFlag struct{ value *string }

func (s *strategyFlag) String() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

func (s *strategyFlag) Type() string { return "kind" }

func (s *strategyFlag) Set(value string) error {
	switch value {
	case config.Rolling, config.Canary, config.BlueGreen:
		*s.value = value
		return nil
	}
	return fault.Usagef("want rolling, canary or blue-green")
}

// connectToFlag is a flag value that adds a rule to a network each time.
type connectToFlag struct{ network *dial.Network }

func (c connectToFlag) String() string { return "" }

func (c connectToFlag) Type() string { return "HOST:PORT:ENDPOINT" }

func (c connectToFlag) Set(value string) error {
	rule, err := dial.ParseRule(value)
	if err == nil {
		c.network.Rules = append(c.network.Rules, rule)
	}
	return err
}

// open completes the request with what comes from outside, and opens it. The function that is returned ends what was
// connected to.
func (r *request) open(ctx context.Context) (*flow.Delivery, func(), error) {
	if r.cloud == nil { // a request may be opened again, also by several at once
		if err := r.complete(ctx); err != nil {
			return nil, nil, err
		}
	}
	connect, closeSession := r.g.session(r.cloud)
	request := r.Request
	request.Client = connect
	d, err := flow.Open(ctx, request)
	if err != nil {
		return nil, nil, err
	}
	return d, func() {
		closeSession()
		if err := d.Close(); err != nil {
			report.Warn(ctx, "a copy of the build context stays behind: %v", err)
		}
	}, nil
}

// complete adds to the request what comes from outside. It connects to nothing.
func (r *request) complete(ctx context.Context) (err error) {
	if r.Request.BuildArgs, err = parseBuildArgs(r.buildArgs); err != nil {
		return err
	}
	if r.made != "" {
		if r.Made, err = flow.ReadMade(r.made); err != nil {
			return err
		}
	}
	if r.Set.Kubeconfig != "" {
		if r.Set.Kubeconfig, err = filepath.Abs(r.Set.Kubeconfig); err != nil {
			return err
		}
	}
	r.User = cmp.Or(r.User, os.Getenv("AKSFLOW_USER"), userAtHost())
	r.RunURL = cmp.Or(r.RunURL, os.Getenv("AKSFLOW_RUN_URL"), runURL(os.Getenv))
	r.Network = r.g.network
	if r.Ref == "" {
		var warning string
		if r.Ref, warning = ofCheckout(os.Getenv, gitRef(os.Getenv), filepath.Dir(r.g.config)); warning != "" && r.ByRef {
			report.Warn(ctx, "%s", warning)
		}
	}
	r.Config, r.Variables, r.Local = r.g.config, os.LookupEnv, r.g.local
	if state, _, err := r.g.stateDirs(); err == nil { // an engine of its own says what is wrong
		r.Layers, r.Keys = filepath.Join(state, "layers"), filepath.Join(state, "keys")
	}
	r.cloud = r.g.newAzure()
	r.Azure = r.cloud
	r.SigningKey = func(ctx context.Context, address string) (crypto.Signer, error) { return r.cloud.Key(ctx, address) }
	return nil
}

// stateDirs returns the folders of the engine's and the local platform's state.
func (g *globals) stateDirs() (state, local string, err error) {
	state, err = engine.StateDir(g.state, os.Environ())
	return state, filepath.Join(state, "platform"), err
}

// local returns the local platform that runs, or an error with the remedy.
func (g *globals) local() (*resolve.LocalPlatform, error) {
	_, dir, err := g.stateDirs()
	if err != nil {
		return nil, err
	}
	info, err := localplatform.Load(dir)
	if err != nil {
		return nil, fault.Usage(err)
	}
	return localPlatform(info)
}

func localPlatform(info *localplatform.Info) (*resolve.LocalPlatform, error) {
	local := &resolve.LocalPlatform{Registry: info.Registry, Kubeconfig: info.Kubeconfig, AppURL: info.AppURL}
	if info.Git == "" {
		return local, nil
	}
	password, err := os.ReadFile(info.GitPasswordFile)
	if err != nil {
		return nil, fmt.Errorf("reading the password of the local platform's git server: %w", err)
	}
	local.GitURL, local.GitUser, local.GitPassword = info.RepositoryURL, info.GitUser, strings.TrimSpace(string(password))
	local.Seed = func(ctx context.Context, app, branch, dir string) error {
		_, err := info.Seed(ctx, app, branch, dir)
		return err
	}
	return local, nil
}

// newAzure makes the login to Azure, which is used where something asks for it.
func (g *globals) newAzure() *azure.Client {
	return azure.New(azure.Options{Lookup: os.LookupEnv, LookPath: exec.LookPath, Network: g.network})
}

// registryLogin gives the credentials for the images that a build pulls from Azure's registries.
func registryLogin(cloud *azure.Client) func(context.Context, string) (string, string, error) {
	return func(ctx context.Context, host string) (username, password string, err error) {
		login := flow.RegistryLogin(ctx, cloud, host)
		if login == nil {
			return "", "", nil
		}
		return login.Login(ctx)
	}
}

// session returns a function that connects to an engine when it is called first, and one that closes the connection.
func (g *globals) session(cloud *azure.Client) (func(context.Context, delivery.Session) (*dagger.Client, error), func()) {
	var mu sync.Mutex
	var s *engine.Session
	connect := func(ctx context.Context, want delivery.Session) (*dagger.Client, error) {
		mu.Lock()
		defer mu.Unlock()
		if s != nil && want.NoCache {
			if err := s.Close(); err != nil {
				return nil, err
			}
			s = nil
		}
		if s == nil {
			var err error
			if s, err = engine.Connect(ctx, engine.Options{Engine: g.engine, State: g.state, Env: os.Environ(), Setenv: os.Setenv, Login: registryLogin(cloud), Session: want}); err != nil {
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

// userAtHost is who runs this process, for records.
func userAtHost() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}

func (r *request) imageFlag(f *pflag.FlagSet) {
	f.StringVar(&r.Image, "image", "", "the reference to run, HOST/REPOSITORY@sha256:… (default: what the manifests say)")
}

// releaseFlags are those of the verbs that work on what was delivered before.
func (r *request) releaseFlags(f *pflag.FlagSet) {
	r.envFlag(f)
	r.clusterFlags(f)
	r.registryFlags(f)
	r.appFlags(f)
	r.applyFlags(f)
	r.graceFlag(f)
	r.recordFlags(f)
}
