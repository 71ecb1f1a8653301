package standin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
)

// Vault is an Azure Key Vault with roles (RBAC), not access policies.
type Vault struct {
	ID   string // of the resource
	Host string // NAME.vault.azure.net
	Keys []VaultKey
}

// VaultKey is one version of a key.
type VaultKey struct {
	Name, Version string
	Private       []byte // PKCS #8
}

// NewKey makes a key of "P-256", "P-384", "P-521" or "RSA".
func NewKey(name, kind string) (VaultKey, error) {
	var private any
	var err error
	switch kind {
	case "P-256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "P-521":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "RSA":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		return VaultKey{}, fmt.Errorf("keys of %q are not known", kind)
	}
	if err != nil {
		return VaultKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	return VaultKey{Name: name, Version: strings.ToLower(rand.Text()), Private: der}, err
}

func (k VaultKey) signer() (crypto.Signer, error) {
	private, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key %s cannot sign", k.Name)
	}
	return signer, nil
}

// vaultRoutes serves the keys of Azure Key Vault. https://learn.microsoft.com/rest/api/keyvault/keys/operation-groups
func (s *Server) vaultRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /keys/{name}/create", s.createKey)
	mux.HandleFunc("GET /keys/{name}", s.getKey)
	mux.HandleFunc("GET /keys/{name}/{version...}", s.getKey)
	mux.HandleFunc("POST /keys/{name}/{version}/sign", s.signWithKey)
	return mux
}

func vaultError(w http.ResponseWriter, status int, code, message, inner string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "innererror": map[string]string{"code": inner}}})
}

// vault checks who asks for a key, and what may be done with it.
func (s *Server) vault(w http.ResponseWriter, r *http.Request, action string) *Vault {
	estate := s.Estate()
	vault := find(estate.Vaults, func(v *Vault) bool { return v.Host == r.Host })
	_, domain, _ := strings.Cut(r.Host, ".")
	claims, err := s.entra.verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	switch {
	case vault == nil:
		http.Error(w, "no such host", http.StatusBadGateway) // Azure's DNS has no such name
		return nil
	case err != nil, claim(claims, "aud") != "https://"+domain:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer authorization=\"https://login.microsoftonline.com/%s\", resource=\"https://%s\"", estate.Tenant, domain))
		vaultError(w, http.StatusUnauthorized, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.", "")
		return nil
	}
	key := vault.ID + "/keys/" + r.PathValue("name")
	if object := claim(claims, "oid"); !estate.may(object, action, key) {
		vaultError(w, http.StatusForbidden, "Forbidden", fmt.Sprintf(
			"Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: appid=%s;oid=%s;iss=%s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\n",
			claim(claims, "appid"), object, claim(claims, "iss"), action, key), "ForbiddenByRbac")
		return nil
	}
	return vault
}

// key returns the version of a key that is asked for, else the newest.
func (v *Vault) key(r *http.Request) *VaultKey {
	for i := len(v.Keys) - 1; i >= 0; i-- {
		if version := strings.TrimSuffix(r.PathValue("version"), "/"); v.Keys[i].Name == r.PathValue("name") && (version == "" || version == v.Keys[i].Version) {
			return &v.Keys[i]
		}
	}
	return nil
}

func keyNotFound(w http.ResponseWriter, r *http.Request) {
	vaultError(w, http.StatusNotFound, "KeyNotFound", fmt.Sprintf("A key with (name/id) %s was not found in this key vault.", r.PathValue("name")), "")
}

func (s *Server) createKey(w http.ResponseWriter, r *http.Request) {
	vault := s.vault(w, r, createVaultKey)
	if vault == nil {
		return
	}
	var wanted struct{ Kty, Crv string }
	err := json.NewDecoder(r.Body).Decode(&wanted)
	kind := wanted.Crv
	switch {
	case wanted.Kty == "RSA":
		kind = "RSA"
	case kind == "":
		kind = "P-256"
	}
	var key VaultKey
	if err == nil {
		key, err = NewKey(r.PathValue("name"), kind)
	}
	if err != nil {
		vaultError(w, http.StatusBadRequest, "BadParameter", err.Error(), "")
		return
	}
	s.Change(func(e *Estate) {
		e.Vaults = append([]Vault(nil), e.Vaults...)
		there := find(e.Vaults, func(v *Vault) bool { return v.Host == r.Host })
		there.Keys = append(append([]VaultKey(nil), there.Keys...), key)
	})
	writeKey(w, r, &key)
}

func (s *Server) getKey(w http.ResponseWriter, r *http.Request) {
	vault := s.vault(w, r, readVaultKey)
	if vault == nil {
		return
	}
	if key := vault.key(r); key != nil {
		writeKey(w, r, key)
		return
	}
	keyNotFound(w, r)
}

// writeKey answers with the public part of a key.
func writeKey(w http.ResponseWriter, r *http.Request, key *VaultKey) {
	private, err := key.signer()
	if err != nil {
		vaultError(w, http.StatusInternalServerError, "InternalServerError", err.Error(), "")
		return
	}
	encode := base64.RawURLEncoding.EncodeToString
	out := map[string]any{"kid": "https://" + r.Host + "/keys/" + key.Name + "/" + key.Version, "key_ops": []string{"sign", "verify"}}
	switch public := private.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x, y
		if err != nil {
			vaultError(w, http.StatusInternalServerError, "InternalServerError", err.Error(), "")
			return
		}
		half := (len(point) - 1) / 2
		out["kty"], out["crv"], out["x"], out["y"] = "EC", public.Params().Name, encode(point[1:1+half]), encode(point[1+half:])
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	}
	now := time.Now().Unix()
	writeJSON(w, http.StatusOK, map[string]any{"key": out, "attributes": map[string]any{"enabled": true, "created": now, "updated": now, "recoveryLevel": "Recoverable"}})
}

// signWithKey signs a digest.
func (s *Server) signWithKey(w http.ResponseWriter, r *http.Request) {
	vault := s.vault(w, r, signVaultKey)
	if vault == nil {
		return
	}
	key := vault.key(r)
	if key == nil {
		keyNotFound(w, r)
		return
	}
	var wanted struct{ Alg, Value string }
	if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil {
		vaultError(w, http.StatusBadRequest, "BadParameter", err.Error(), "")
		return
	}
	digest, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(wanted.Value, "="))
	var signature []byte
	if err == nil {
		signature, err = key.sign(wanted.Alg, digest)
	}
	if err != nil {
		vaultError(w, http.StatusBadRequest, "BadParameter", err.Error(), "")
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{
		"kid": "https://" + r.Host + "/keys/" + key.Name + "/" + key.Version, "value": base64.RawURLEncoding.EncodeToString(signature),
	})
}

// sign signs as the vault does: r and s of an elliptic curve stand one behind the other.
func (k VaultKey) sign(algorithm string, digest []byte) ([]byte, error) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[algorithm[max(0, len(algorithm)-3):]]
	if hash == 0 || len(digest) != hash.Size() {
		return nil, fmt.Errorf("Invalid length of 'value': %d bytes for %s", len(digest), algorithm)
	}
	private, err := k.signer()
	if err != nil {
		return nil, err
	}
	switch private := private.(type) {
	case *rsa.PrivateKey:
		switch algorithm[:2] {
		case "RS":
			return rsa.SignPKCS1v15(rand.Reader, private, hash, digest)
		case "PS":
			return rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	case *ecdsa.PrivateKey:
		if algorithm != map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[private.Params().Name] {
			break
		}
		size := (private.Params().BitSize + 7) / 8
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, err
		}
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out, nil
	}
	return nil, fmt.Errorf("Key and signing algorithm are incompatible: %s", algorithm)
}
