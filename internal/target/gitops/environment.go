package gitops

import (
	"fmt"
	"os"
	"strconv"

	"github.com/go-git/go-git/v5"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Variables that hold, or name the file of, what a pipeline has beside a token.
const (
	envSSHKey            = "AKSFLOW_GIT_SSH_KEY"        // file of a private key
	envSSHPassphrase     = "AKSFLOW_GIT_SSH_PASSPHRASE" // what it is encrypted with
	envKnownHosts        = "AKSFLOW_GIT_KNOWN_HOSTS"    // file in the form of ssh_known_hosts
	envAppID             = "AKSFLOW_GITHUB_APP_ID"      // number
	envAppInstallation   = "AKSFLOW_GITHUB_APP_INSTALL" // number of the installation
	envAppKey            = "AKSFLOW_GITHUB_APP_KEY"     // file of its private key
	envSigningKey        = "AKSFLOW_GIT_SIGNING_KEY"    // file of an OpenPGP or SSH private key
	envSigningPassphrase = "AKSFLOW_GIT_SIGNING_PASSPHRASE"
	envArgoCDServer      = "AKSFLOW_ARGOCD_SERVER" // address of Argo CD's API server
	envArgoCDToken       = "AKSFLOW_ARGOCD_TOKEN"  // a project's token for it
)

// AuthFromEnvironment returns the GitHub App or the SSH key that AKSFLOW_GITHUB_APP_ID, …_INSTALL and …_KEY or
// AKSFLOW_GIT_SSH_KEY, …_SSH_PASSPHRASE and …_KNOWN_HOSTS name; the zero Auth when none is set. Bump, Rollback and
// Contains use it when no credentials are given.
func AuthFromEnvironment() (Auth, error) {
	if id := os.Getenv(envAppID); id != "" {
		return appFromEnvironment(id)
	}
	var a Auth
	var err error
	if a.SSHKey, err = fileOf(envSSHKey); err != nil {
		return Auth{}, err
	}
	if a.KnownHosts, err = fileOf(envKnownHosts); err != nil {
		return Auth{}, err
	}
	a.SSHPassphrase = []byte(os.Getenv(envSSHPassphrase))
	return a, nil
}

func appFromEnvironment(id string) (Auth, error) {
	app := &GitHubApp{}
	var err error
	if app.AppID, err = strconv.ParseInt(id, 10, 64); err != nil {
		return Auth{}, fault.Usagef("%s is %q: want the App's number", envAppID, id)
	}
	if app.InstallationID, err = strconv.ParseInt(os.Getenv(envAppInstallation), 10, 64); err != nil {
		return Auth{}, fault.Usagef("%s is %q: want the number of the App's installation", envAppInstallation, os.Getenv(envAppInstallation))
	}
	if app.PrivateKey, err = fileOf(envAppKey); err != nil {
		return Auth{}, err
	}
	if len(app.PrivateKey) == 0 {
		return Auth{}, fault.Usagef("%s is not set: want the file of the App's private key", envAppKey)
	}
	return Auth{App: app}, nil
}

// SignerFromEnvironment returns a signer for the key in the file that AKSFLOW_GIT_SIGNING_KEY names, decrypted with
// AKSFLOW_GIT_SIGNING_PASSPHRASE; nil when it is not set. Bump and Rollback use it when no signer is given.
func SignerFromEnvironment() (git.Signer, error) {
	key, err := fileOf(envSigningKey)
	if err != nil || len(key) == 0 {
		return nil, err
	}
	return NewSigner(key, []byte(os.Getenv(envSigningPassphrase)))
}

// fileOf reads the file that a variable names; nothing when it is not set.
func fileOf(variable string) ([]byte, error) {
	name := os.Getenv(variable)
	if name == "" {
		return nil, nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the file that %s names cannot be read: %w", variable, err))
	}
	return content, nil
}

// given tells whether there is anything to log in with.
func (a Auth) given() bool { return a.Token != "" || a.App != nil || len(a.SSHKey) > 0 }
