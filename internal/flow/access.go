package flow

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"

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

// access fills in the credentials for the environment: those that flags and aksflow.yaml name, and those that stand in
// variables of a known name.
func (d *Delivery) access(env *delivery.Environment) error {
	s := d.Set
	if (s.Username == "") != (s.PasswordEnv == "") {
		return fault.Usagef("--username and --password-env go together")
	}
	if s.PasswordEnv != "" {
		env.RegistryLogin = d.login("--password-env", s.Username, s.PasswordEnv)
	}
	switch {
	case s.GitPasswordEnv != "":
		env.Git.Login = d.login("--password-env", s.GitUsername, s.GitPasswordEnv)
	case env.GitOps.PasswordEnv != "":
		env.Git.Login = d.login("gitops.passwordEnv", cmp.Or(env.GitOps.Username, d.variable(varGitUsername)), env.GitOps.PasswordEnv)
	case d.variable(varGitToken) != "":
		env.Git.Login = d.login(varGitToken, d.variable(varGitUsername), varGitToken)
	}
	env.ArgoCD = delivery.ArgoCDAccess{Server: d.variable(varArgoCDServer), Token: d.variable(varArgoCDToken)}
	git := &env.Git
	git.AuthorName, git.AuthorEmail = d.variable(varAuthorName), d.variable(varAuthorEmail)
	git.SSHPassphrase = []byte(d.variable(varSSHPassphrase))
	git.SigningPassphrase = []byte(d.variable(varSigningPassphrase))
	for name, to := range map[string]*[]byte{
		varSSHKey: &git.SSHKey, varKnownHosts: &git.KnownHosts, varSigningKey: &git.SigningKey,
	} {
		var err error
		if *to, err = d.fileOf(name); err != nil {
			return err
		}
	}
	return d.gitHubApp(git)
}

func (d *Delivery) gitHubApp(git *delivery.GitAccess) error {
	id := d.variable(varAppID)
	if id == "" {
		return nil
	}
	app := &delivery.GitHubApp{}
	for name, to := range map[string]*int64{varAppID: &app.AppID, varAppInstallation: &app.InstallationID} {
		var err error
		if *to, err = strconv.ParseInt(d.variable(name), 10, 64); err != nil {
			return fault.Usagef("the variable %s is %q: want a number", name, d.variable(name))
		}
	}
	var err error
	if app.PrivateKey, err = d.fileOf(varAppKey); err != nil {
		return err
	}
	if len(app.PrivateKey) == 0 {
		return fault.Usagef("the variable %s is not set: want the file of the GitHub App's private key", varAppKey)
	}
	git.App = app
	return nil
}

func (d *Delivery) variable(name string) string {
	if d.Variables == nil {
		return ""
	}
	value, _ := d.Variables(name)
	return value
}

// fileOf reads the file that a variable names; nothing when it is not set.
func (d *Delivery) fileOf(variable string) ([]byte, error) {
	name := d.variable(variable)
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
func (d *Delivery) login(what, username, variable string) variableLogin {
	return variableLogin{what: what, username: username, variable: variable, lookup: d.Variables}
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
