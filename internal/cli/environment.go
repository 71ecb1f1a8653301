package cli

import (
	"fmt"
	"os"
	"strconv"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// Variables that hold credentials, or name the file of one.
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

// gitAccess returns what the environment says about git.
func gitAccess() (delivery.GitAccess, error) {
	a := delivery.GitAccess{
		SSHPassphrase:     []byte(os.Getenv(envSSHPassphrase)),
		SigningPassphrase: []byte(os.Getenv(envSigningPassphrase)),
		AuthorName:        os.Getenv("GIT_AUTHOR_NAME"),
		AuthorEmail:       os.Getenv("GIT_AUTHOR_EMAIL"),
	}
	for variable, to := range map[string]*[]byte{envSSHKey: &a.SSHKey, envKnownHosts: &a.KnownHosts, envSigningKey: &a.SigningKey} {
		var err error
		if *to, err = fileOf(variable); err != nil {
			return a, err
		}
	}
	if os.Getenv(envAppID) == "" {
		return a, nil
	}
	app := &delivery.GitHubApp{}
	for variable, to := range map[string]*int64{envAppID: &app.AppID, envAppInstallation: &app.InstallationID} {
		var err error
		if *to, err = strconv.ParseInt(os.Getenv(variable), 10, 64); err != nil {
			return a, fault.Usagef("the variable %s is %q: want a number", variable, os.Getenv(variable))
		}
	}
	var err error
	if app.PrivateKey, err = fileOf(envAppKey); err == nil && len(app.PrivateKey) == 0 {
		err = fault.Usagef("the variable %s is not set: want the file of the GitHub App's private key", envAppKey)
	}
	a.App = app
	return a, err
}

// fileOf reads the file that a variable names. It returns nothing when the variable is not set.
func fileOf(variable string) ([]byte, error) {
	name := os.Getenv(variable)
	if name == "" {
		return nil, nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the file that the variable %s names cannot be read: %w", variable, err))
	}
	return content, nil
}
