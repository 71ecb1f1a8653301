// Deliver an application to Azure Kubernetes Service: build its image, test it, publish what was tested, and roll it out,
// by applying the manifests (push) or by writing the digest to git for Argo CD or Flux (pull).
//
// The aksflow.yaml of the repository that you call from says what is built, how it is tested and where it goes. The aksflow
// command reads the same file and does the same; it also works without a Dagger engine. Build and test are containers of
// your engine. What talks to a cluster or to a git host is the aksflow program in a container.
//
//	dagger call -m github.com/aksflow/aksflow test
//	dagger call -m github.com/aksflow/aksflow with-cluster --kubeconfig=file:$HOME/.kube/config deploy --env=dev
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// Deliver an application to Azure Kubernetes Service
type AksFlow struct {
	// +private
	Workspace *dagger.Workspace
	// +private
	Config string
	// +private
	Ref string
	// +private
	Variables []string
	// +private
	BuildArgs []string
	// +private
	Program *dagger.File
	// +private
	ProgramImage string
	// +private
	ProgramSource *dagger.Directory
	// +private
	GoImage string
	// +private
	BuildSecretNames []string
	// +private
	BuildSecrets []*dagger.Secret
	// +private
	TestSecretNames []string
	// +private
	TestSecrets []*dagger.Secret
	// +private
	SSHAgent *dagger.Socket
	// +private
	RegistryUsername string
	// +private
	RegistryPassword *dagger.Secret
	// +private
	RegistryServer *dagger.Service
	// +private
	GitUsername string
	// +private
	GitToken *dagger.Secret
	// +private
	GitSSHAgent *dagger.Socket
	// +private
	GitKnownHosts *dagger.File
	// +private
	GitServer *dagger.Service
	// +private
	Kubeconfig *dagger.Secret
	// +private
	ClusterServer *dagger.Service
	// +private
	AzureClient string
	// +private
	AzureTenant string
	// +private
	AzureRequestURL string
	// +private
	AzureRequestToken *dagger.Secret
	// +private
	AzureConnection string
	// +private
	AzureToken *dagger.Secret
	// +private
	AzureSecret *dagger.Secret
	// +private
	AzureProxy *dagger.Service
	// +private
	AzureCertificates *dagger.File
	// +private
	SigningKey *dagger.Secret
	// +private
	SigningPassword *dagger.Secret
	// +private
	SigningToken *dagger.Secret
	// +private
	SigningRequestURL string
	// +private
	SigningRequestToken *dagger.Secret
	// +private
	By string
	// +private
	RunURL string
}

func New(
	// The repository that you call from. Nobody has to set it
	ws *dagger.Workspace,

	// Where aksflow.yaml is, from the current directory. Without it: here, or in the next directory above that has one
	// +optional
	config string,

	// The git ref that decides the environment: a branch, or in full as refs/tags/v1.2.0. Without it: what is checked out
	// +optional
	ref string,

	// Values of variables in aksflow.yaml: NAME=VALUE
	// +optional
	variables []string,

	// Values of the Dockerfile's ARG instructions, in place of those of aksflow.yaml: NAME=VALUE
	// +optional
	buildArgs []string,

	// The aksflow program for Linux, which talks to clusters and git hosts. Without it and aksflow-image, it is built
	// +optional
	aksflow *dagger.File,

	// An image to run the program in, such as registry.example/aksflow:v1. It has the program, unless aksflow gives it
	// +optional
	aksflowImage string,

	// The source that the program is built from. Nobody has to set it
	// +defaultPath="/"
	// +ignore=["*", "!go.mod", "!go.sum", "!main.go", "!internal", "**/*_test.go", "**/testdata"]
	aksflowSource *dagger.Directory,

	// An image with Go to build the program in
	// +default="golang:1.26"
	goImage string,
) *AksFlow {
	return &AksFlow{
		Workspace: ws, Config: config, Ref: ref, Variables: variables, BuildArgs: buildArgs,
		Program: aksflow, ProgramImage: aksflowImage, ProgramSource: aksflowSource, GoImage: goImage,
	}
}

// Let the build read a secret, as RUN --mount=type=secret,id=NAME does
func (m *AksFlow) WithBuildSecret(
	ctx context.Context,
	// Its id in the Dockerfile
	name string,
	// Its value: env:NAME, file:PATH, …
	value *dagger.Secret,
) (*AksFlow, error) {
	plain, err := value.Plaintext(ctx)
	if err != nil {
		return nil, fmt.Errorf("the build secret %s: %w", name, err)
	}
	with := *m
	with.BuildSecretNames = append(append([]string(nil), m.BuildSecretNames...), name)
	with.BuildSecrets = append(append([]*dagger.Secret(nil), m.BuildSecrets...), dag.SetSecret(name, plain))
	return &with, nil
}

// Let the tests read a secret as an environment variable, as secrets under test in aksflow.yaml name it
func (m *AksFlow) WithTestSecret(
	// The name of the variable
	name string,
	// Its value: env:NAME, file:PATH, …
	value *dagger.Secret,
) *AksFlow {
	with := *m
	with.TestSecretNames = append(append([]string(nil), m.TestSecretNames...), name)
	with.TestSecrets = append(append([]*dagger.Secret(nil), m.TestSecrets...), value)
	return &with
}

// Let the build use an SSH agent, as RUN --mount=type=ssh does
func (m *AksFlow) WithSshAgent(
	// The agent's socket: $SSH_AUTH_SOCK
	socket *dagger.Socket,
) *AksFlow {
	with := *m
	with.SSHAgent = socket
	return &with
}

// Log in to the registry, and reach one that only you can reach
func (m *AksFlow) WithRegistry(
	// The user. For a token of Microsoft Entra: 00000000-0000-0000-0000-000000000000
	// +optional
	username string,
	// The password or token: env:NAME, file:PATH, cmd:"az acr login …"
	// +optional
	password *dagger.Secret,
	// The registry, if only you can reach it: tcp://localhost:5000. Images keep their names
	// +optional
	server *dagger.Service,
) (*AksFlow, error) {
	if (username == "") != (password == nil) {
		return nil, errors.New("with-registry: --username and --password go together")
	}
	with := *m
	with.RegistryUsername, with.RegistryPassword, with.RegistryServer = username, password, server
	return &with, nil
}

// Log in to the git server that a bump is pushed to, and reach one that only you can reach
func (m *AksFlow) WithGit(
	// A token or password for HTTPS: env:GITHUB_TOKEN
	// +optional
	token *dagger.Secret,
	// The user that goes with the token. GitHub, Azure Repos and GitLab take any
	// +optional
	username string,
	// For a URL with ssh: the agent's socket, $SSH_AUTH_SOCK
	// +optional
	sshAgent *dagger.Socket,
	// For a URL with ssh: the server's key in the form of ssh_known_hosts, ~/.ssh/known_hosts
	// +optional
	knownHosts *dagger.File,
	// The git server, if only you can reach it: tcp://localhost:3000. The repository keeps its URL
	// +optional
	server *dagger.Service,
) *AksFlow {
	with := *m
	with.GitUsername, with.GitToken, with.GitServer = username, token, server
	with.GitSSHAgent, with.GitKnownHosts = sshAgent, knownHosts
	return &with
}

// Log in to the cluster, and reach one that only you can reach
func (m *AksFlow) WithCluster(
	// A kubeconfig that needs no program to log in: file:PATH, or cmd:"aksflow kubeconfig"
	kubeconfig *dagger.Secret,
	// The API server, if only you can reach it: tcp://127.0.0.1:6443. Its name and certificate stay those of the kubeconfig
	// +optional
	server *dagger.Service,
) *AksFlow {
	with := *m
	with.Kubeconfig, with.ClusterServer = kubeconfig, server
	return &with
}

// Say who delivers, for the records in the cluster and in git
func (m *AksFlow) WithRun(
	// Who: $USER, or the actor of a workflow
	// +optional
	by string,
	// The page of the CI run
	// +optional
	url string,
) *AksFlow {
	with := *m
	with.By, with.RunURL = by, url
	return &with
}
