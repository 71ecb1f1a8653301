package azure_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

const sampleVault = standin.SampleVault + ".vault.azure.net"

// withKeys adds keys of each kind to the sample's vault.
func withKeys(t *testing.T, kinds ...string) {
	t.Helper()
	var keys []standin.VaultKey
	for _, kind := range kinds {
		key, err := standin.NewKey(strings.ToLower(kind), kind)
		require.NoError(t, err)
		keys = append(keys, key)
	}
	without(t, func(e *standin.Estate) {
		e.Vaults = slices.Clone(e.Vaults)
		e.Vaults[0].Keys = append(slices.Clone(e.Vaults[0].Keys), keys...)
	})
}

// Signatures of each kind of key are what Go's own functions verify.
func TestKeysSign(t *testing.T) {
	withKeys(t, "P-256", "P-384", "P-521", "RSA")
	c := client(gitHub(standin.SampleSubject))
	sum256, sum384, sum512 := sha256.Sum256([]byte("text")), sha512.Sum384([]byte("text")), sha512.Sum512([]byte("text"))
	for name, o := range map[string]struct {
		digest []byte
		hash   crypto.SignerOpts
	}{
		"p-256": {sum256[:], crypto.SHA256}, "p-384": {sum384[:], crypto.SHA384}, "p-521": {sum512[:], crypto.SHA512},
		"rsa": {sum256[:], crypto.SHA256}, "rsa with PSS": {sum512[:], &rsa.PSSOptions{Hash: crypto.SHA512, SaltLength: rsa.PSSSaltLengthEqualsHash}},
	} {
		t.Run(name, func(t *testing.T) {
			first, _, _ := strings.Cut(name, " ")
			key, err := c.Key(t.Context(), "azurekms://"+sampleVault+"/"+first)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(key.String(), "https://"+sampleVault+"/keys/"+first+"/"), key.String())
			signature, err := key.Sign(rand.Reader, o.digest, o.hash)
			require.NoError(t, err)
			switch public := key.Public().(type) {
			case *ecdsa.PublicKey:
				assert.True(t, ecdsa.VerifyASN1(public, o.digest, signature))
			case *rsa.PublicKey:
				if pss, ok := o.hash.(*rsa.PSSOptions); ok {
					assert.NoError(t, rsa.VerifyPSS(public, pss.Hash, o.digest, signature, pss))
				} else {
					assert.NoError(t, rsa.VerifyPKCS1v15(public, o.hash.HashFunc(), o.digest, signature))
				}
			}
			again, err := c.Key(t.Context(), key.String())
			require.NoError(t, err)
			assert.Equal(t, key.Public(), again.Public(), "by its ID")
			_, err = key.Sign(rand.Reader, o.digest[:20], crypto.SHA1)
			assert.ErrorContains(t, err, "does not sign SHA-1")
		})
	}
}

func TestKeysAreRefused(t *testing.T) {
	const delivery = "https://" + sampleVault + "/keys/" + standin.SampleKey
	get := func() error {
		key, err := client(gitHub(standin.SampleSubject)).Key(t.Context(), delivery)
		if err == nil {
			sum := sha256.Sum256(nil)
			_, err = key.Sign(rand.Reader, sum[:], crypto.SHA256)
		}
		return err
	}
	require.NoError(t, get())
	t.Run("no role", func(t *testing.T) {
		without(t, remove(standin.CryptoUser))
		expect(t, get(), []string{"it needs the role Key Vault Crypto User there",
			"az role assignment create --assignee-object-id " + standin.SampleObject, "--role 'Key Vault Crypto User' --scope $(az keyvault show --name " + standin.SampleVault})
	})
	t.Run("no such key", func(t *testing.T) {
		_, err := client(gitHub(standin.SampleSubject)).Key(t.Context(), delivery+"x")
		expect(t, err, []string{"has no key deliveryx", "az keyvault key create --vault-name " + standin.SampleVault})
	})
	t.Run("no login", func(t *testing.T) {
		_, err := client(gitHub("repo:other/other:environment:dev")).Key(t.Context(), delivery)
		expect(t, err, []string{"reading the key delivery", "AADSTS700213"})
	})
	for _, address := range []string{
		"https://vault.azure.net/keys/x", "https://a.b.vault.azure.net/keys/x", "https://" + sampleVault + "/secrets/x", "https://" + sampleVault + ".example/keys/x",
		"http://" + sampleVault + "/keys/x", "azurekms://" + sampleVault + "/a/b/c", "azurekms://" + sampleVault, "https://" + sampleVault + ":444/keys/x",
	} {
		_, err := client(nil).Key(t.Context(), address)
		assert.ErrorContains(t, err, "is no key in Azure Key Vault", address)
	}
}

// The SDK makes a key with the role for that, and without it not.
func TestKeysAreMade(t *testing.T) {
	credential, err := azidentity.NewClientAssertionCredential(standin.SampleTenant, standin.SampleClient, func(context.Context) (string, error) {
		return cloud.IDToken(standin.GitHubIssuer, standin.SampleSubject), nil
	}, nil)
	require.NoError(t, err)
	keys, err := azkeys.NewClient("https://"+sampleVault, credential, nil)
	require.NoError(t, err)
	wanted := azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveNameP384)}
	_, err = keys.CreateKey(t.Context(), "made", wanted, nil)
	require.ErrorContains(t, err, "ForbiddenByRbac")
	without(t, func(e *standin.Estate) {
		e.Assignments = append(slices.Clone(e.Assignments), standin.Assignment{Principal: standin.SampleObject, Role: standin.CryptoOfficer, Scope: standin.ResourceID(standin.VaultKind, standin.SampleVault)})
	})
	made, err := keys.CreateKey(t.Context(), "made", wanted, nil)
	require.NoError(t, err)
	_, err = keys.CreateKey(t.Context(), "made", wanted, nil)
	require.NoError(t, err, "a new version")
	key, err := client(gitHub(standin.SampleSubject)).Key(t.Context(), string(*made.Key.KID))
	require.NoError(t, err)
	assert.Equal(t, string(*made.Key.KID), key.String())
	newest, err := client(gitHub(standin.SampleSubject)).Key(t.Context(), "azurekms://"+sampleVault+"/made")
	require.NoError(t, err)
	assert.NotEqual(t, key.String(), newest.String())
}

var _ crypto.Signer = (*azure.Key)(nil)
