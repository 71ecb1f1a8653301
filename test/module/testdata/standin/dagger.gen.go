package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// dag is the session that the environment names. Dagger generates it too, and lets no program start without one.
var dag = func() *dagger.Client {
	for _, name := range []string{"DAGGER_SESSION_PORT", "DAGGER_SESSION_TOKEN"} {
		if os.Getenv(name) == "" {
			panic(name + " is not set")
		}
	}
	return nil // until main connects
}()

// call is what `dagger call` would have on its command line: a function, its arguments, and those of what is called before
// it. Files, directories and sockets are paths on this machine; services are HOST:PORT on it.
type call struct {
	Root, Below  string // the repository and, from there, the current directory
	Config, Ref  string
	Variables    []string
	BuildArgs    []string
	Aksflow      string
	AksflowImage string
	Source       string
	GoImage      string

	BuildSecrets, TestSecrets          map[string]string
	SSHAgent                           string
	RegistryUsername, RegistryPassword string
	RegistryServer                     string
	GitUsername, GitToken, GitServer   string
	GitSSHAgent, GitKnownHosts         string
	Kubeconfig, ClusterServer          string
	By, RunURL                         string
	AzureClient, AzureTenant           string
	AzureRequestURL, AzureRequestToken string
	AzureConnection                    string
	AzureToken, AzureSecret            string
	AzureProxy, AzureCertificates      string
	SigningKey, SigningPassword        string
	SigningToken                       string
	SigningRequestURL                  string
	SigningRequestToken                string

	Function         string
	Env, Image       string // Image is a tarball's path, or a reference
	Repository       string
	Tags             []string
	Manifests        string
	Replace          []string
	Strict           bool
	Commit, To       string
	Override, ByHand string
	Reason           string
	Revoke           bool
	Target, Strategy string
	Percent          []int
	Hold             bool
	NoRollback       bool
	Rebuild, Retest  bool
	Flag             []string
	Format           string
	Output           string // where a file, directory or change that the function returns is exported to
}

// main stands in for what Dagger generates to serve calls: it reads one from standard input, makes it and prints what it
// returns.
func main() {
	var c call
	err := json.NewDecoder(os.Stdin).Decode(&c)
	if err == nil {
		err = c.make(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (c call) make(ctx context.Context) (err error) {
	client, err := sdk.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	dag = &dagger.Client{Client: client}
	m, err := c.module(ctx)
	if err != nil {
		return err
	}
	text, err := c.run(ctx, m)
	if err == nil {
		fmt.Println(text)
	}
	return err
}

// module is the constructor, and the functions that say who calls and how servers are reached.
func (c call) module(ctx context.Context) (m *AksFlow, err error) {
	m = New(&dagger.Workspace{Client: dag, Root: c.Root, Below: c.Below}, c.Config, c.Ref, c.Variables, c.BuildArgs,
		file(c.Aksflow), c.AksflowImage, directory(c.Source), c.GoImage)
	for name, value := range c.BuildSecrets {
		if m, err = m.WithBuildSecret(ctx, name, secret("given-"+name, value)); err != nil {
			return nil, err
		}
	}
	for name, value := range c.TestSecrets {
		m = m.WithTestSecret(name, secret("test-"+name, value))
	}
	if c.SSHAgent != "" {
		m = m.WithSshAgent(socket(c.SSHAgent))
	}
	if c.RegistryUsername != "" || c.RegistryPassword != "" || c.RegistryServer != "" {
		if m, err = m.WithRegistry(c.RegistryUsername, secret("registry", c.RegistryPassword), service(c.RegistryServer)); err != nil {
			return nil, err
		}
	}
	if c.GitToken != "" || c.GitSSHAgent != "" || c.GitServer != "" {
		m = m.WithGit(secret("git", c.GitToken), c.GitUsername, socket(c.GitSSHAgent), file(c.GitKnownHosts), service(c.GitServer))
	}
	if c.Kubeconfig != "" {
		m = m.WithCluster(secret("kubeconfig", c.Kubeconfig), service(c.ClusterServer))
	}
	if c.AzureClient != "" {
		if m, err = m.WithAzure(c.AzureClient, c.AzureTenant, c.AzureRequestURL, secret("azure-request", c.AzureRequestToken), c.AzureConnection,
			secret("azure-token", c.AzureToken), secret("azure-secret", c.AzureSecret), service(c.AzureProxy), file(c.AzureCertificates)); err != nil {
			return nil, err
		}
	}
	if c.SigningKey != "" || c.SigningPassword != "" || c.SigningToken != "" || c.SigningRequestURL != "" {
		if m, err = m.WithSigner(secret("signing-key", c.SigningKey), secret("signing-password", c.SigningPassword),
			secret("signing-token", c.SigningToken), c.SigningRequestURL, secret("signing-request", c.SigningRequestToken)); err != nil {
			return nil, err
		}
	}
	if c.By != "" || c.RunURL != "" {
		m = m.WithRun(c.By, c.RunURL)
	}
	return m, nil
}

func (c call) run(ctx context.Context, m *AksFlow) (string, error) {
	target, strategy, format := Target(c.Target), Strategy(c.Strategy), Format(c.Format)
	switch c.Function {
	case "build":
		built, err := m.Build(ctx, c.Env)
		return exported(ctx, built, err, c.Output)
	case "container":
		built, err := m.Container(ctx, c.Env)
		if err != nil {
			return "", err
		}
		return built.AsTarball().Export(ctx, c.Output)
	case "test":
		return m.Test(ctx, file(c.Image), c.Env, c.Retest)
	case "test-reports":
		reports, err := m.TestReports(ctx, file(c.Image), c.Env, c.Retest)
		return exported(ctx, reports, err, c.Output)
	case "publish":
		return m.Publish(ctx, c.Env, c.Repository, c.Tags, file(c.Image), c.Rebuild, c.Retest)
	case "plan":
		return m.Plan(ctx, c.Env, target, format)
	case "validate":
		return m.Validate(ctx, c.Env, format)
	case "bump":
		changes, err := m.Bump(ctx, c.Image, c.Env, c.Manifests, c.Replace, c.Strict)
		return exported(ctx, changes, err, c.Output)
	case "diff":
		return m.Diff(ctx, c.Env, c.Image, c.Flag, format)
	case "deploy":
		return m.Deploy(ctx, c.Env, c.Image, strategy, c.Percent, c.Hold, c.NoRollback, c.Flag, format)
	case "wait":
		return m.Wait(ctx, c.Env, c.Image, c.Commit, c.Flag, format)
	case "rollback":
		return m.Rollback(ctx, c.Env, c.To, c.Flag, format)
	case "history":
		return m.History(ctx, c.Env, format)
	case "promote":
		return m.Promote(ctx, c.To, c.Override, c.ByHand, c.Flag, format)
	case "approve":
		return m.Approve(ctx, c.Env, c.Image, c.Reason, c.Revoke, format)
	case "verify":
		return m.Verify(ctx, c.Image, c.Env, format)
	case "deliver":
		return m.Deliver(ctx, c.Env, target, file(c.Image), strategy, c.Percent, c.Hold, c.NoRollback, c.Rebuild, c.Retest, c.Flag, format)
	}
	return "", fmt.Errorf("no function %q", c.Function)
}

// exported writes what a function returned to a path, as `dagger call --output` does.
func exported(ctx context.Context, from any, err error, path string) (string, error) {
	if err != nil {
		return "", err
	}
	switch from := from.(type) {
	case *dagger.File:
		return from.Export(ctx, path)
	case *dagger.Directory:
		return from.Export(ctx, path)
	case *dagger.Changeset:
		return from.Export(ctx, path)
	}
	return "", fmt.Errorf("a %T cannot be exported", from)
}

func file(path string) *dagger.File {
	if path == "" {
		return nil
	}
	return dag.Host().File(path)
}

func directory(path string) *dagger.Directory {
	if path == "" {
		return nil
	}
	return dag.Host().Directory(path)
}

func socket(path string) *dagger.Socket {
	if path == "" {
		return nil
	}
	return dag.Host().UnixSocket(path)
}

func secret(name, value string) *dagger.Secret {
	if value == "" {
		return nil
	}
	return dag.SetSecret(name, value)
}

// service is a server of this machine.
func service(address string) *dagger.Service {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	return dag.Host().Service([]sdk.PortForward{{Backend: number, Frontend: number}}, sdk.HostServiceOpts{Host: host})
}
