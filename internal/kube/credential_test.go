package kube_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

// TestCredentialPlugins has plugins that do what those of clouds do.
func TestCredentialPlugins(t *testing.T) {
	_, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "plugins")
	_, err := client.CoreV1().ServiceAccounts("plugins").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "d"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	token, err := client.CoreV1().ServiceAccounts("plugins").CreateToken(t.Context(), "d", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	credential := fmt.Sprintf(`{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}`, token.Status.Token)

	for name, test := range map[string]struct {
		script, says string
		mode         clientcmdapi.ExecInteractiveMode
	}{
		"works":       {"echo '" + credential + "'", "", clientcmdapi.NeverExecInteractiveMode},
		"slow":        {"sleep 11; echo '" + credential + "'", "", clientcmdapi.NeverExecInteractiveMode},
		"noise":       {"echo 'To sign in, use a web browser'; echo '" + credential + "'", "plugin printed something that is no credential: To sign in, use a web browser", clientcmdapi.NeverExecInteractiveMode},
		"interactive": {"read -p code: x; exit 3", "plugin needs a terminal, and there is none", clientcmdapi.AlwaysExecInteractiveMode},
		"fails":       {"exit 3", "plugin failed with exit code 3: run it by itself to see why", clientcmdapi.NeverExecInteractiveMode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			plugin := filepath.Join(dir, "plugin")
			require.NoError(t, os.WriteFile(plugin, []byte("#!/bin/bash\n"+test.script+"\n"), 0o700))
			config, err := clientcmd.LoadFromFile(kubetest.Shared(t))
			require.NoError(t, err)
			for key := range config.AuthInfos {
				config.AuthInfos[key] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
					APIVersion: "client.authentication.k8s.io/v1", Command: plugin, InteractiveMode: test.mode,
				}}
			}
			path := filepath.Join(dir, "kubeconfig")
			require.NoError(t, clientcmd.WriteToFile(*config, path))
			ctx, said := messages(t.Context())
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			c, err := kube.Connect(ctx, kube.Options{Kubeconfig: path})
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				assert.NotContains(t, err.Error(), token.Status.Token)
				return
			}
			require.NoError(t, err)
			assert.NotEmpty(t, c.Version())
			if name == "works" {
				made, err := kube.MakeStatic(ctx, kube.StaticOptions{Options: kube.Options{Kubeconfig: path}})
				require.NoError(t, err)
				assert.Equal(t, []string{token.Status.Token}, made.Secrets)
				assert.WithinDuration(t, token.Status.ExpirationTimestamp.Time, made.Expires, time.Second)
				require.NoError(t, os.Remove(plugin))
				static := filepath.Join(dir, "static")
				require.NoError(t, os.WriteFile(static, made.Content, 0o600))
				_, err = kube.Connect(ctx, kube.Options{Kubeconfig: static})
				require.NoError(t, err)
			}
			if name == "slow" {
				assert.Contains(t, strings.Join(said(), "\n"), "waiting for the kubeconfig's credential plugin")
			}
		})
	}
}
