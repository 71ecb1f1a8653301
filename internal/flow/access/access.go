// Package access finds what a delivery logs in with, and the secrets of a build: in variables of a known name, and in the
// variables and files that flags and aksflow.yaml name.
package access

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// The variables that hold credentials, or name the file of one.
const (
	varGitUsername       = "AKSFLOW_GIT_USERNAME"       // goes with the token; any name will do for most hosts
	varGitToken          = "AKSFLOW_GIT_TOKEN"          // password or token for a git server over HTTPS
	varSSHKey            = "AKSFLOW_GIT_SSH_KEY"        // file of a private key
	varSSHPassphrase     = "AKSFLOW_GIT_SSH_PASSPHRASE" // what it is encrypted with
	varKnownHosts        = "AKSFLOW_GIT_KNOWN_HOSTS"    // file in the form of ssh_known_hosts
	varAppID             = "AKSFLOW_GITHUB_APP_ID"      // number
	varAppInstallation   = "AKSFLOW_GITHUB_APP_INSTALL" // number of the installation
	varAppKey            = "AKSFLOW_GITHUB_APP_KEY"     // file of its private key
	varSigningKey        = "AKSFLOW_GIT_SIGNING_KEY"    // file of an OpenPGP or SSH private key
	varSigningPassphrase = "AKSFLOW_GIT_SIGNING_PASSPHRASE"
	varArgoCDServer      = "AKSFLOW_ARGOCD_SERVER" // address of Argo CD's API server
	varArgoCDToken       = "AKSFLOW_ARGOCD_TOKEN"  // a project's token for it
	varAuthorName        = "GIT_AUTHOR_NAME"
	varAuthorEmail       = "GIT_AUTHOR_EMAIL"
)

// Source is where credentials and secrets come from.
type Source struct {
	// Variables finds a variable of the process's environment. Nil finds none.
	Variables config.Lookup
	// Hide is told each secret that is read.
	Hide func(secret string)
}

// Flags are the logins that flags name: users, and the variables that hold their passwords.
type Flags struct {
	Username, PasswordEnv       string // of the registry
	GitUsername, GitPasswordEnv string
}

// Fill fills in the credentials for the environment: those that flags and aksflow.yaml name, and those that stand in variables
// of a known name.
func (s Source) Fill(env *delivery.Environment, flags Flags) error {
	if (flags.Username == "") != (flags.PasswordEnv == "") {
		return fault.Usagef("--username and --password-env go together")
	}
	if flags.PasswordEnv != "" {
		env.RegistryLogin = s.login("--password-env", flags.Username, flags.PasswordEnv)
	}
	switch {
	case flags.GitPasswordEnv != "":
		env.Git.Login = s.login("--password-env", flags.GitUsername, flags.GitPasswordEnv)
	case env.GitOps.PasswordEnv != "":
		env.Git.Login = s.login("gitops.passwordEnv", cmp.Or(env.GitOps.Username, s.Variable(varGitUsername)), env.GitOps.PasswordEnv)
	case s.Variable(varGitToken) != "":
		env.Git.Login = s.login(varGitToken, s.Variable(varGitUsername), varGitToken)
	}
	env.ArgoCD = delivery.ArgoCDAccess{Server: s.Variable(varArgoCDServer), Token: s.Secret(varArgoCDToken)}
	git := &env.Git
	git.AuthorName, git.AuthorEmail = s.Variable(varAuthorName), s.Variable(varAuthorEmail)
	git.SSHPassphrase = []byte(s.Secret(varSSHPassphrase))
	git.SigningPassphrase = []byte(s.Secret(varSigningPassphrase))
	for name, to := range map[string]*[]byte{
		varSSHKey: &git.SSHKey, varKnownHosts: &git.KnownHosts, varSigningKey: &git.SigningKey,
	} {
		var err error
		if *to, err = s.file(name); err != nil {
			return err
		}
	}
	return s.gitHubApp(git)
}

func (s Source) gitHubApp(git *delivery.GitAccess) error {
	id := s.Variable(varAppID)
	if id == "" {
		return nil
	}
	app := &delivery.GitHubApp{}
	for name, to := range map[string]*int64{varAppID: &app.AppID, varAppInstallation: &app.InstallationID} {
		var err error
		if *to, err = strconv.ParseInt(s.Variable(name), 10, 64); err != nil {
			return fault.Usagef("the variable %s is %q: want a number", name, s.Variable(name))
		}
	}
	var err error
	if app.PrivateKey, err = s.file(varAppKey); err != nil {
		return err
	}
	if len(app.PrivateKey) == 0 {
		return fault.Usagef("the variable %s is not set: want the file of the GitHub App's private key", varAppKey)
	}
	git.App = app
	return nil
}

// Variable returns the value of a variable; "" when it is not set.
func (s Source) Variable(name string) string {
	if s.Variables == nil {
		return ""
	}
	value, _ := s.Variables(name)
	return value
}

// Secret is Variable for one that holds a secret.
func (s Source) Secret(name string) string {
	value := s.Variable(name)
	if value != "" {
		s.Hide(value)
	}
	return value
}

// file reads the file that a variable names; nothing when it is not set.
func (s Source) file(variable string) ([]byte, error) {
	name := s.Variable(variable)
	if name == "" {
		return nil, nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the file that the variable %s names cannot be read: %w", variable, err))
	}
	return content, nil
}

// login is a user name with the password that a variable holds.
func (s Source) login(what, username, variable string) variableLogin {
	s.Secret(variable)
	return variableLogin{what: what, username: username, variable: variable, lookup: s.Variables}
}

// variableLogin is delivery.Credentials from a variable, which is read at each use. What is the flag or the key that
// names the variable.
type variableLogin struct {
	what, username, variable string
	lookup                   func(string) (string, bool)
}

// Login implements delivery.Credentials.
func (l variableLogin) Login(context.Context) (username, password string, err error) {
	password, ok := l.lookup(l.variable)
	if !ok {
		return "", "", fault.Usagef("%s names the variable %s, which is not set", l.what, l.variable)
	}
	return l.username, password, nil
}

// Value reads a secret of aksflow.yaml from the variable or the file that it comes from. The file's path is "" for a variable.
// abs returns the path of a file that aksflow.yaml names.
func (s Source) Value(name string, from config.Secret, abs func(string) string) (value []byte, file string, err error) {
	if from.Env != "" {
		value, ok := s.Variables(from.Env)
		if !ok {
			return nil, "", fault.Usagef("the secret %s comes from the environment variable %s, which is not set", name, from.Env)
		}
		return []byte(value), "", nil
	}
	if file, err = filepath.Abs(abs(from.File)); err != nil {
		return nil, "", err
	}
	if value, err = os.ReadFile(file); err != nil {
		return nil, "", fault.Usage(fmt.Errorf("the secret %s: %w", name, err))
	}
	return value, file, nil
}
