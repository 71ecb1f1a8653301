package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v4"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/pkg/apis/clientauthentication"
	"k8s.io/client-go/pkg/apis/clientauthentication/install"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Static is a kubeconfig with one context that needs no file and no program beside it.
type Static struct {
	Context string // its name
	Server  string // the API server's address
	Content []byte // YAML
	// Secrets are the strings of Content that must not become known.
	Secrets []string
	// Expires is when the first of the credentials becomes invalid; zero when none of them says so.
	Expires time.Time
}

// StaticOptions choose the context, and say how a credential plugin can talk to somebody.
type StaticOptions struct {
	Options
	// Stdin is a terminal, or nil when there is none: a plugin that has to ask is refused then.
	Stdin io.Reader
	// Stderr gets what a plugin prints beside the credential.
	Stderr io.Writer
}

// MakeStatic reads the files that a context names, runs its credential plugin, and returns a kubeconfig with what they
// gave. What cannot be made static is fault.Usage. The API server is not asked.
func MakeStatic(ctx context.Context, o StaticOptions) (*Static, error) {
	config, raw, err := staticSource(ctx, o.Options)
	if err != nil {
		return nil, fault.Usage(err)
	}
	user, expires, err := staticUser(ctx, config, o)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the context %s cannot be made static: %w", raw.name, err))
	}
	out := clientcmdapi.NewConfig()
	out.CurrentContext = raw.name
	out.Contexts[raw.name] = &clientcmdapi.Context{Cluster: raw.name, AuthInfo: raw.name, Namespace: raw.namespace}
	out.AuthInfos[raw.name] = user
	out.Clusters[raw.name] = &clientcmdapi.Cluster{
		Server: config.Host, TLSServerName: config.ServerName, InsecureSkipTLSVerify: config.Insecure,
		CertificateAuthorityData: config.CAData, ProxyURL: raw.proxy, DisableCompression: config.DisableCompression,
	}
	s := &Static{Context: raw.name, Server: config.Host, Expires: expires}
	if s.Content, err = clientcmd.Write(*out); err != nil {
		return nil, err
	}
	candidates := []string{user.Token, user.Password, base64.StdEncoding.EncodeToString(user.ClientKeyData)}
	if proxy, err := url.Parse(raw.proxy); err == nil && proxy.User != nil {
		password, _ := proxy.User.Password()
		candidates = append(candidates, password)
	}
	s.Secrets = slices.DeleteFunc(candidates, func(secret string) bool { return secret == "" })
	return s, nil
}

// staticSource reads the kubeconfig, or asks the cluster's cloud for one and logs in.
func staticSource(ctx context.Context, o Options) (*rest.Config, kubeContext, error) {
	if o.Access != nil {
		return accessStatic(ctx, o.Access)
	}
	config, err := restConfig(o)
	if err != nil {
		return nil, kubeContext{}, err
	}
	raw, err := rawContext(o)
	return config, raw, err
}

// kubeContext is what a [rest.Config] does not have of a context.
type kubeContext struct{ name, namespace, proxy string }

func rawContext(o Options) (kubeContext, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	raw, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).RawConfig()
	if err != nil {
		return kubeContext{}, err
	}
	out := kubeContext{name: raw.CurrentContext}
	if o.Context != "" {
		out.name = o.Context
	}
	if context := raw.Contexts[out.name]; context != nil {
		out.namespace = context.Namespace
		if cluster := raw.Clusters[context.Cluster]; cluster != nil {
			out.proxy = cluster.ProxyURL
		}
	}
	if out.name == "" {
		out.name = "in-cluster" // the service account of the pod
	}
	return out, nil
}

// staticUser returns the credentials of a configuration as values, and when they expire. It loads the configuration's
// files.
func staticUser(ctx context.Context, config *rest.Config, o StaticOptions) (*clientcmdapi.AuthInfo, time.Time, error) {
	var none time.Time
	if p := config.AuthProvider; p != nil {
		return nil, none, fmt.Errorf("its user has the auth-provider %s, which renews its tokens on this machine: use an account with a token or a certificate, or a credential plugin", p.Name)
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, none, err
	}
	i := config.Impersonate
	user := &clientcmdapi.AuthInfo{
		Token: config.BearerToken, Username: config.Username, Password: config.Password,
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
		Impersonate: i.UserName, ImpersonateUID: i.UID, ImpersonateGroups: i.Groups, ImpersonateUserExtra: i.Extra,
	}
	if config.BearerTokenFile != "" {
		token, err := os.ReadFile(config.BearerTokenFile)
		if err != nil {
			return nil, none, fmt.Errorf("its token: %w", err)
		}
		user.Token = strings.TrimSpace(string(token))
	}
	var expires time.Time
	if user.Token == "" && config.ExecProvider != nil { // a token goes before a plugin
		credential, err := runPlugin(ctx, config, o)
		if err != nil {
			return nil, none, explainCredential(ctx, err, config.ExecProvider)
		}
		user.Token = credential.Token
		if credential.ClientCertificateData != "" {
			user.ClientCertificateData, user.ClientKeyData = []byte(credential.ClientCertificateData), []byte(credential.ClientKeyData)
		}
		if credential.ExpirationTimestamp != nil {
			expires = credential.ExpirationTimestamp.Time
		}
	}
	said, err := expiry(user)
	if err != nil {
		return nil, none, err
	}
	if expires.IsZero() || !said.IsZero() && said.Before(expires) {
		expires = said
	}
	if !expires.IsZero() && !expires.After(time.Now()) {
		return nil, none, fmt.Errorf("its credentials expired on %s: sign in again, for AKS with `az login`", expires.UTC().Format("2006-01-02 at 15:04 MST"))
	}
	return user, expires, nil
}

// expiry returns when a user's certificate or token expires, whichever is first; zero when neither says so.
func expiry(user *clientcmdapi.AuthInfo) (time.Time, error) {
	var expires time.Time
	if len(user.ClientCertificateData) > 0 || len(user.ClientKeyData) > 0 {
		pair, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData)
		if err != nil {
			return expires, fmt.Errorf("its client certificate and key: %w", err)
		}
		expires = pair.Leaf.NotAfter
	}
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(user.Token, &claims); err == nil && claims.ExpiresAt != nil {
		if expires.IsZero() || claims.ExpiresAt.Before(expires) {
			expires = claims.ExpiresAt.Time
		}
	}
	return expires, nil
}

// runPlugin runs the credential plugin of a configuration as client-go does, which does not give out what the plugin said.
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
func runPlugin(ctx context.Context, config *rest.Config, o StaticOptions) (*clientauthentication.ExecCredentialStatus, error) {
	plugin := config.ExecProvider
	ctx, cancel := context.WithTimeout(ctx, credentialLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, plugin.Command, plugin.Args...)
	cmd.WaitDelay = time.Second
	cmd.Stderr = o.Stderr
	switch {
	case o.Stdin != nil && plugin.InteractiveMode != clientcmdapi.NeverExecInteractiveMode && !plugin.StdinUnavailable:
		cmd.Stdin = o.Stdin
	case plugin.InteractiveMode == clientcmdapi.AlwaysExecInteractiveMode:
		return nil, errors.New("exec plugin cannot support interactive mode")
	}
	request := &clientauthentication.ExecCredential{Spec: clientauthentication.ExecCredentialSpec{Interactive: cmd.Stdin != nil}}
	if plugin.ProvideClusterInfo {
		var err error
		if request.Spec.Cluster, err = rest.ConfigToExecCluster(config); err != nil {
			return nil, err
		}
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme)
	version, err := schema.ParseGroupVersion(plugin.APIVersion)
	if err != nil {
		return nil, err
	}
	info, err := runtime.Encode(codecs.LegacyCodec(version), request)
	if err != nil {
		return nil, fmt.Errorf("its apiVersion %s: %w", plugin.APIVersion, err)
	}
	cmd.Env = cmd.Environ()
	for _, variable := range plugin.Env {
		cmd.Env = append(cmd.Env, variable.Name+"="+variable.Value)
	}
	cmd.Env = append(cmd.Env, "KUBERNETES_EXEC_INFO="+string(bytes.TrimSpace(info)))
	out, err := cmd.Output()
	var exited *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("the credential plugin %s gave no credential within %s", plugin.Command, report.Span(credentialLimit))
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &exited):
		return nil, fmt.Errorf("exec: executable %s failed with exit code %d", plugin.Command, exited.ExitCode())
	case err != nil:
		return nil, err
	}
	return readCredential(codecs, version, out)
}

// readCredential reads the ExecCredential that a plugin printed.
func readCredential(codecs serializer.CodecFactory, version schema.GroupVersion, out []byte) (*clientauthentication.ExecCredentialStatus, error) {
	credential := &clientauthentication.ExecCredential{}
	_, kind, err := codecs.UniversalDecoder(version).Decode(out, nil, credential)
	if err != nil {
		return nil, errors.New("decoding stdout") // the decoder's message may quote the credential
	}
	status := credential.Status
	switch {
	case kind.GroupVersion() != version:
		return nil, fmt.Errorf("its credential plugin answers in version %s, and the kubeconfig names %s", kind.GroupVersion(), version)
	case status == nil, status.Token == "" && status.ClientCertificateData == "" && status.ClientKeyData == "":
		return nil, errors.New("its credential plugin gave neither a token nor a certificate")
	}
	return status, nil
}
