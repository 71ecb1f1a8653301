// Package pki makes the certificates and kubeconfig files of a short-lived cluster on one machine.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"
)

// lifetime of a certificate is longer than any local platform runs.
const lifetime = 365 * 24 * time.Hour

// Authority signs the certificates of one cluster and keeps them in a directory: NAME.crt, NAME.key.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority, and writes its certificate to ca.crt in dir. Its key exists in memory only.
func New(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making certificates: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "aksflow local platform"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := &Authority{dir: dir, key: key}
	der, err := a.sign(template, template, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("making the authority's certificate: %w", err)
	}
	return a, writePEM(a.File("ca.crt"), "CERTIFICATE", der)
}

// File returns the path of a file that the authority wrote.
func (a *Authority) File(name string) string { return filepath.Join(a.dir, name) }

// Server issues NAME.crt and NAME.key for a server that is reached by these names and addresses.
func (a *Authority) Server(name string, hosts ...string) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.issue(name, template)
}

// Client issues NAME.crt and NAME.key for a client that Kubernetes knows as this user and groups, and NAME.kubeconfig,
// which holds both and reaches the API at url.
func (a *Authority) Client(name, url, user string, groups ...string) error {
	err := a.issue(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	return a.kubeconfig(name, url)
}

// Key makes NAME.key, a key pair that signs without a certificate, as service account tokens are.
func (a *Authority) Key(name string) error {
	_, err := a.newKey(name)
	return err
}

func (a *Authority) issue(name string, template *x509.Certificate) error {
	key, err := a.newKey(name)
	if err != nil {
		return err
	}
	der, err := a.sign(template, a.cert, &key.PublicKey)
	if err != nil {
		return err
	}
	return writePEM(a.File(name+".crt"), "CERTIFICATE", der)
}

func (a *Authority) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %s: %w", template.Subject.CommonName, err)
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour) // clocks of virtual machines jump
	template.NotAfter = template.NotBefore.Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %s: %w", template.Subject.CommonName, err)
	}
	return der, nil
}

func (a *Authority) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", name, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", name, err)
	}
	return key, writePEM(a.File(name+".key"), "EC PRIVATE KEY", der)
}

// kubeconfig writes NAME.kubeconfig with everything inside, so that the file can be copied.
func (a *Authority) kubeconfig(name, url string) error {
	var data [3][]byte
	for i, file := range []string{"ca.crt", name + ".crt", name + ".key"} {
		var err error
		if data[i], err = os.ReadFile(a.File(file)); err != nil {
			return fmt.Errorf("writing the kubeconfig of %s: %w", name, err)
		}
	}
	type object = map[string]any
	const cluster = "aksflow"
	out, err := yaml.Marshal(object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{"name": cluster, "cluster": object{
			"server": url, "certificate-authority-data": data[0],
		}}},
		"users": []object{{"name": name, "user": object{
			"client-certificate-data": data[1], "client-key-data": data[2],
		}}},
		"contexts":        []object{{"name": cluster, "context": object{"cluster": cluster, "user": name}}},
		"current-context": cluster,
	})
	if err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", name, err)
	}
	if err := os.WriteFile(a.File(name+".kubeconfig"), out, 0o600); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", name, err)
	}
	return nil
}

func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	return nil
}
