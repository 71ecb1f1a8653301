package render

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/sprig/v3"
	"golang.org/x/crypto/bcrypt"
)

// renewAfter is the part of a certificate's lifetime after which a new one is made: two thirds, as cert-manager does.
// https://cert-manager.io/docs/usage/certificate/#renewal-and-expiration
const renewAfter = 2.0 / 3

var alphabets = map[string]*regexp.Regexp{
	"randAlphaNum": regexp.MustCompile(`^[0-9A-Za-z]*$`),
	"randAlpha":    regexp.MustCompile(`^[A-Za-z]*$`),
	"randNumeric":  regexp.MustCompile(`^[0-9]*$`),
	"randAscii":    regexp.MustCompile(`^[ -~]*$`),
}

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// keyTypes are the types of genPrivateKey with the headings of their keys.
var keyTypes = map[string]string{"": "RSA PRIVATE KEY", "rsa": "RSA PRIVATE KEY", "dsa": "DSA PRIVATE KEY", "ecdsa": "EC PRIVATE KEY", "ed25519": "PRIVATE KEY"}

// couldReturn reports whether a random function that is called with args could have returned texts: a hash fits its
// password, a certificate its authority and names, a password its length. Else what the chart asks for has changed since,
// and the call gets a new value.
func couldReturn(name string, args []reflect.Value, texts []string) bool {
	text := texts[0]
	switch name {
	case "randAlphaNum", "randAlpha", "randNumeric", "randAscii":
		return len(text) == int(args[0].Int()) && alphabets[name].MatchString(text)
	case "randBytes":
		raw, err := base64.StdEncoding.DecodeString(text)
		return err == nil && len(raw) == int(args[0].Int())
	case "randInt":
		number, err := strconv.Atoi(text)
		return err == nil && number >= int(args[0].Int()) && number < int(args[1].Int())
	case "shuffle":
		return slices.Equal(sorted(text), sorted(args[0].String()))
	case "uuidv4":
		return uuid4.MatchString(text)
	case "bcrypt":
		return bcrypt.CompareHashAndPassword([]byte(text), []byte(args[0].String())) == nil
	case "htpasswd":
		hash, ok := strings.CutPrefix(text, args[0].String()+":")
		return ok && bcrypt.CompareHashAndPassword([]byte(hash), []byte(args[1].String())) == nil
	case "encryptAES":
		return decryptsTo(args[0].String(), text, args[1].String())
	case "genPrivateKey":
		block, _ := pem.Decode([]byte(text))
		return block != nil && block.Type == keyTypes[args[0].String()]
	default:
		return couldIssue(name, args, texts)
	}
}

func sorted(text string) []rune {
	runes := []rune(text)
	slices.Sort(runes)
	return runes
}

// decryptsTo reports whether text is what encryptAES makes of plain.
func decryptsTo(password, text, plain string) (ok bool) {
	defer func() {
		if recover() != nil { // sprig does not check the length of what it decrypts
			ok = false
		}
	}()
	decrypt, _ := sprig.TxtFuncMap()["decryptAES"].(func(string, string) (string, error))
	got, err := decrypt(password, text)
	return err == nil && got == plain
}

// couldIssue is couldReturn of the functions that make certificates:
//
//	genCA CN DAYS [KEY]   genSelfSignedCert CN IPS NAMES DAYS [KEY]   genSignedCert CN IPS NAMES DAYS AUTHORITY [KEY]
func couldIssue(name string, args []reflect.Value, texts []string) bool {
	cert := certificate(texts[0])
	if cert == nil || len(texts) != 2 || cert.Subject.CommonName != args[0].String() {
		return false
	}
	name, withKey := strings.CutSuffix(name, "WithKey")
	if withKey && texts[1] != "" && strings.TrimSpace(texts[1]) != strings.TrimSpace(args[len(args)-1].String()) {
		return false
	}
	if _, err := tls.X509KeyPair([]byte(texts[0]), []byte(texts[1])); err != nil && texts[1] != "" {
		return false
	}
	days := args[1]
	if name != "genCA" {
		days = args[3]
		if !sameNames(cert, args[1], args[2]) {
			return false
		}
	}
	if name == "genSignedCert" {
		authority := certificate(args[4].FieldByName("Cert").String())
		if authority == nil || cert.CheckSignatureFrom(authority) != nil {
			return false
		}
	} else if cert.IsCA != (name == "genCA") {
		return false
	}
	lifetime := cert.NotAfter.Sub(cert.NotBefore)
	wanted := time.Duration(days.Int()) * 24 * time.Hour
	return (lifetime-wanted).Abs() < time.Minute && time.Since(cert.NotBefore) < time.Duration(float64(lifetime)*renewAfter)
}

func certificate(text string) *x509.Certificate {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

// sameNames reports whether a certificate is for the addresses and DNS names of two lists.
func sameNames(cert *x509.Certificate, ips, names reflect.Value) bool {
	var have []string
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	have = append(have, cert.DNSNames...)
	var want []string
	for i := range ips.Len() {
		if ip := net.ParseIP(fmt.Sprint(ips.Index(i).Interface())); ip != nil {
			want = append(want, ip.String())
		}
	}
	for i := range names.Len() {
		want = append(want, fmt.Sprint(names.Index(i).Interface()))
	}
	return slices.Equal(have, want)
}
