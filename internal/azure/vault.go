package azure

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// vaultDomains are those of Key Vault in all clouds, and of its managed HSMs. A token is sent to no other host.
var vaultDomains = []string{
	".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net",
	".managedhsm.azure.net", ".managedhsm.azure.cn", ".managedhsm.usgovcloudapi.net",
}

// cryptoUser is the role that lets an identity read keys and sign with them.
// https://learn.microsoft.com/azure/key-vault/general/rbac-guide
const cryptoUser = "Key Vault Crypto User"

// Key is a key in Azure Key Vault. It implements crypto.Signer: the private part never leaves the vault.
type Key struct {
	ctx    context.Context
	client *Client
	keys   *azkeys.Client
	vault  string // host
	id     azkeys.ID
	public crypto.PublicKey
}

// keyAddress reads the address of a key in Azure Key Vault: the key identifier that Azure shows,
// https://VAULT.vault.azure.net/keys/NAME[/VERSION], or azurekms://VAULT.vault.azure.net/NAME[/VERSION] as cosign writes it.
// ok is false for an address of another form.
func keyAddress(address string) (vault, name, version string, ok bool) {
	u, err := url.Parse(address)
	if err != nil || u.User != nil || u.Port() != "" || u.RawQuery != "" {
		return "", "", "", false
	}
	path := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "https":
		if path, ok = strings.CutPrefix(path, "keys/"); !ok {
			return "", "", "", false
		}
	case "azurekms":
	default:
		return "", "", "", false
	}
	vault = strings.ToLower(u.Host)
	for _, domain := range vaultDomains {
		if label, found := strings.CutSuffix(vault, domain); found && label != "" && !strings.Contains(label, ".") {
			name, version, _ = strings.Cut(path, "/")
			return vault, name, version, name != "" && !strings.Contains(version, "/")
		}
	}
	return "", "", "", false
}

// Key gets the public part of a key. The context is also that of the signatures.
func (c *Client) Key(ctx context.Context, address string) (*Key, error) {
	vault, name, version, ok := keyAddress(address)
	if !ok {
		return nil, fault.Usagef("%q is no key in Azure Key Vault: want https://VAULT.vault.azure.net/keys/NAME, with /VERSION for a certain one", address)
	}
	l, err := c.chosen()
	if err != nil {
		return nil, err
	}
	k := &Key{ctx: ctx, client: c, vault: vault}
	if k.keys, err = azkeys.NewClient("https://"+vault, &explaining{c}, &azkeys.ClientOptions{ClientOptions: l.cloud.clientOptions()}); err != nil {
		return nil, err
	}
	answer, err := k.keys.GetKey(ctx, name, version, nil)
	if err != nil {
		return nil, k.explain("reading", name, err)
	}
	if answer.Key == nil || answer.Key.KID == nil {
		return nil, fmt.Errorf("the vault %s answers without the key %s", vault, name)
	}
	k.id = *answer.Key.KID
	if k.public, err = publicKey(answer.Key); err != nil {
		return nil, fault.Usage(fmt.Errorf("the key %s: %w", k.id, err))
	}
	return k, nil
}

// String is the key's address, with its version: what signs now, also after the key was rotated.
func (k *Key) String() string { return string(k.id) }

// Public implements crypto.Signer.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer: the vault signs the digest. The first argument is not used.
func (k *Key) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	algorithm, err := k.algorithm(o)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the key %s: %w", k.id, err))
	}
	answer, err := k.keys.Sign(k.ctx, k.id.Name(), k.id.Version(), azkeys.SignParameters{Algorithm: &algorithm, Value: digest}, nil)
	if err != nil {
		return nil, k.explain("signing with", k.id.Name(), err)
	}
	if public, ok := k.public.(*ecdsa.PublicKey); ok {
		return derSignature(public, answer.Result)
	}
	return answer.Result, nil
}

// algorithm is the vault's name for how a digest is signed.
// https://learn.microsoft.com/azure/key-vault/keys/about-keys-details
func (k *Key) algorithm(o crypto.SignerOpts) (azkeys.SignatureAlgorithm, error) {
	type suite struct {
		kind string
		hash crypto.Hash
	}
	var kind string
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		kind = public.Params().Name
	case *rsa.PublicKey:
		kind = "RSA"
		if _, pss := o.(*rsa.PSSOptions); pss {
			kind = "RSA-PSS"
		}
	}
	algorithm, ok := map[suite]azkeys.SignatureAlgorithm{
		{"P-256", crypto.SHA256}: azkeys.SignatureAlgorithmES256, {"P-384", crypto.SHA384}: azkeys.SignatureAlgorithmES384,
		{"P-521", crypto.SHA512}: azkeys.SignatureAlgorithmES512,
		{"RSA", crypto.SHA256}:   azkeys.SignatureAlgorithmRS256, {"RSA", crypto.SHA384}: azkeys.SignatureAlgorithmRS384, {"RSA", crypto.SHA512}: azkeys.SignatureAlgorithmRS512,
		{"RSA-PSS", crypto.SHA256}: azkeys.SignatureAlgorithmPS256, {"RSA-PSS", crypto.SHA384}: azkeys.SignatureAlgorithmPS384, {"RSA-PSS", crypto.SHA512}: azkeys.SignatureAlgorithmPS512,
	}[suite{kind, o.HashFunc()}]
	if !ok {
		return "", fmt.Errorf("Azure Key Vault does not sign %s with a key of %s", o.HashFunc(), kind)
	}
	return algorithm, nil
}

// derSignature turns the vault's r and s, one behind the other, into ASN.1, as crypto.Signer wants it.
func derSignature(public *ecdsa.PublicKey, raw []byte) ([]byte, error) {
	size := (public.Params().BitSize + 7) / 8
	if len(raw) != 2*size {
		return nil, fmt.Errorf("the vault's signature has %d bytes in place of %d", len(raw), 2*size)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:size]), new(big.Int).SetBytes(raw[size:])})
}

// publicKey reads the public part of a JSON Web Key.
func publicKey(key *azkeys.JSONWebKey) (crypto.PublicKey, error) {
	kind, curve := azkeys.KeyType(""), azkeys.CurveName("")
	if key.Kty != nil {
		kind = *key.Kty
	}
	if key.Crv != nil {
		curve = *key.Crv
	}
	switch kind {
	case azkeys.KeyTypeRSA, azkeys.KeyTypeRSAHSM:
		e := new(big.Int).SetBytes(key.E)
		if !e.IsInt64() || len(key.N) == 0 {
			return nil, errors.New("the vault's answer holds no RSA key")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(key.N), E: int(e.Int64())}, nil
	case azkeys.KeyTypeEC, azkeys.KeyTypeECHSM:
		known := map[azkeys.CurveName]elliptic.Curve{azkeys.CurveNameP256: elliptic.P256(), azkeys.CurveNameP384: elliptic.P384(), azkeys.CurveNameP521: elliptic.P521()}[curve]
		if known == nil {
			return nil, fmt.Errorf("the curve %s cannot be verified everywhere: make a key of P-256", curve)
		}
		size := (known.Params().BitSize + 7) / 8
		point := append([]byte{4}, make([]byte, 2*size)...)
		if len(key.X) > size || len(key.Y) > size {
			return nil, errors.New("the vault's answer holds no key of " + string(curve))
		}
		copy(point[1+size-len(key.X):], key.X)
		copy(point[1+2*size-len(key.Y):], key.Y)
		return ecdsa.ParseUncompressedPublicKey(known, point)
	}
	return nil, fmt.Errorf("a key of the type %s cannot sign: make one of the type EC", kind)
}

func (k *Key) explain(doing, name string, err error) error {
	var answer *azcore.ResponseError
	var explained *explainedError
	what := fmt.Sprintf("%s the key %s of the vault %s", doing, name, k.vault)
	switch {
	case errors.As(err, &explained):
		return fmt.Errorf("%s: %w", what, explained.error)
	case !errors.As(err, &answer):
		return fmt.Errorf("%s: %w", what, transportError(err))
	case answer.StatusCode == http.StatusForbidden && strings.Contains(err.Error(), "ForbiddenByFirewall"):
		return fault.Usagef("%s: the vault's firewall does not let this machine in: add its address under Networking, or run inside", what)
	case answer.StatusCode == http.StatusForbidden:
		return fault.Usagef("%s is refused: it needs the role %s there. A new assignment takes minutes to arrive:\n%s", what, cryptoUser,
			assign(k.client.vaultObject(k.ctx, k.vault), cryptoUser, vaultScope(k.vault)))
	case answer.StatusCode == http.StatusNotFound:
		return fault.Usagef("the vault %s has no key %s, or not that version: `az keyvault key create --vault-name %s --name %s --kty EC --curve P-256` makes one",
			k.vault, name, vaultName(k.vault), name)
	}
	return fmt.Errorf("%s: Azure answers %d %s", what, answer.StatusCode, answer.ErrorCode)
}

// vaultObject returns the object ID of the identity that is logged in, OBJECT_ID where it is not known.
func (c *Client) vaultObject(ctx context.Context, vault string) string {
	_, domain, _ := strings.Cut(vault, ".")
	token, err := c.token(ctx, "https://"+domain+"/.default")
	if object := readClaims(token).Object; err == nil && object != "" {
		return object
	}
	return "OBJECT_ID"
}

func vaultName(vault string) string {
	name, _, _ := strings.Cut(vault, ".")
	return name
}

// vaultScope is the vault's resource ID, as a shell finds it.
func vaultScope(vault string) string {
	return fmt.Sprintf("$(az keyvault show --name %s --query id --output tsv)", vaultName(vault))
}
