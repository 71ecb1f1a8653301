package standin

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuer signs tokens with a key of its own.
type issuer struct {
	name string
	key  *rsa.PrivateKey
}

func newIssuer(name string) (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the signing key of %s: %w", name, err)
	}
	return &issuer{name: name, key: key}, nil
}

// sign adds iat, nbf and exp to the claims.
func (i *issuer) sign(claims jwt.MapClaims, lifetime time.Duration) (string, error) {
	now := time.Now()
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), now.Add(lifetime).Unix()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = i.keyID()
	return token.SignedString(i.key)
}

// verify checks the signature and the times. The claims are returned with an error about the times, too.
func (i *issuer) verify(token string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return &i.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithLeeway(time.Second))
	if err != nil && !errors.Is(err, jwt.ErrTokenExpired) {
		return nil, err
	}
	return claims, err
}

// keyID names the key: 16 characters of its modulus, so that a client's cache of keys never mixes two stand-ins.
func (i *issuer) keyID() string {
	return base64.RawURLEncoding.EncodeToString(i.key.N.Bytes())[:16]
}

// keySet is the key as a JSON Web Key Set (RFC 7517).
func (i *issuer) keySet() map[string]any {
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]any{"keys": []any{map[string]any{
		"use": "sig", "alg": "RS256", "kty": "RSA", "kid": i.keyID(),
		"n": encode(i.key.N.Bytes()), "e": encode(big.NewInt(int64(i.key.E)).Bytes()),
	}}}
}

// issue signs a token and keeps it, for the search for leaked tokens.
func (s *Server) issue(by *issuer, claims jwt.MapClaims, lifetime time.Duration) string {
	token, err := by.sign(claims, lifetime)
	if err != nil { // the key was made here, so it signs
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued = append(s.issued, token)
	return token
}

// claim returns a claim that is text, "" without one.
func claim(claims jwt.MapClaims, name string) string {
	text, _ := claims[name].(string)
	return text
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}
