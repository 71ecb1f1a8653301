// Package bkhost reaches a BuildKit that somebody else runs: the one that BUILDKIT_HOST names.
package bkhost

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	bkclient "github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// The environment variables that name a BuildKit. TLS names a directory with ca.pem, cert.pem and key.pem, as buildctl's
// option --tlsdir does.
const (
	Variable = "BUILDKIT_HOST"
	TLS      = "AKSFLOW_BUILDKIT_TLS"
)

// Host is a BuildKit that somebody else runs.
type Host struct {
	Address string // as BuildKit's client wants it
	tls     string // the directory with the certificates; "" is no TLS
}

// tunnels says, for each way to a BuildKit that needs another program, how to make a port of it.
var tunnels = map[string]string{
	"docker-container":  "publish its port (docker run -p 127.0.0.1:1234:1234 … moby/buildkit --addr tcp://0.0.0.0:1234)",
	"podman-container":  "publish its port (podman run -p 127.0.0.1:1234:1234 … moby/buildkit --addr tcp://0.0.0.0:1234)",
	"nerdctl-container": "publish its port (nerdctl run -p 127.0.0.1:1234:1234 … moby/buildkit --addr tcp://0.0.0.0:1234)",
	"kube-pod":          "forward its port (kubectl port-forward pod/NAME 1234)",
	"ssh":               "forward its socket (ssh -N -L 127.0.0.1:1234:/run/buildkit/buildkitd.sock HOST)",
}

// New returns the BuildKit at an address, which is the value of [Variable]; nil if that is empty. tls is the value of [TLS].
func New(address, tls string) (*Host, error) {
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fault.Usagef("%s is no URL: %v", Variable, err)
	}
	switch u.Scheme {
	case "unix":
		if !filepath.IsAbs(u.Path) || u.Host != "" {
			return nil, fault.Usagef("%s %s: want unix:///PATH, such as unix:///run/buildkit/buildkitd.sock", Variable, address)
		}
		return &Host{Address: address}, nil
	case "tcp":
		if u.Hostname() == "" || u.Port() == "" {
			return nil, fault.Usagef("%s %s: want tcp://HOST:PORT", Variable, address)
		}
		return &Host{Address: "tcp://" + u.Host, tls: tls}, nil
	}
	if how := tunnels[u.Scheme]; how != "" {
		return nil, fault.Usagef("%s %s: aksflow starts no other program to reach a BuildKit: %s and set %s=tcp://127.0.0.1:1234, or unset it", Variable, address, how, Variable)
	}
	return nil, fault.Usagef("%s %s: want unix:///PATH or tcp://HOST:PORT", Variable, address)
}

const (
	// answerTimeout is how long a BuildKit that runs already may take to say what it is.
	answerTimeout = 10 * time.Second
	noticeAfter   = 5 * time.Second // when the wait is announced
)

// Connect connects, and asks what is there.
func (h *Host) Connect(ctx context.Context) (*bkclient.Client, *Worker, error) {
	opts, err := h.credentials()
	if err != nil {
		return nil, nil, err
	}
	client, err := bkclient.New(ctx, h.Address, opts...)
	if err != nil {
		return nil, nil, h.unreachable(err)
	}
	worker, err := Inspect(ctx, client, answerTimeout)
	if err == nil {
		err = worker.suits()
	} else {
		err = h.unreachable(err)
	}
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, worker, nil
}

// Check returns what is found at the address.
func (h *Host) Check(ctx context.Context) []delivery.Check {
	client, worker, err := h.Connect(ctx)
	if err != nil {
		return []delivery.Check{delivery.NewCheck("buildkit", "", err)}
	}
	defer client.Close()
	checks := []delivery.Check{delivery.Passed("buildkit", worker.String())}
	for _, warning := range h.Warnings(worker) {
		checks = append(checks, delivery.Check{Name: "buildkit", Status: delivery.CheckWarning, Message: warning})
	}
	return checks
}

// credentials returns how the connection is encrypted.
func (h *Host) credentials() ([]bkclient.ClientOpt, error) {
	if h.tls == "" {
		return nil, nil
	}
	file := func(name string) string { return filepath.Join(h.tls, name) }
	for _, name := range []string{"ca.pem", "cert.pem", "key.pem"} {
		if _, err := os.Stat(file(name)); err != nil {
			return nil, fault.Usagef("%s: %v", TLS, err)
		}
	}
	u, err := url.Parse(h.Address)
	if err != nil {
		return nil, err
	}
	return []bkclient.ClientOpt{
		bkclient.WithServerConfig(u.Hostname(), file("ca.pem")),
		bkclient.WithCredentials(file("cert.pem"), file("key.pem")),
	}, nil
}

// unreachable says what to do where no BuildKit answers.
func (h *Host) unreachable(err error) error {
	remedy := "start it, or unset " + Variable
	switch text := err.Error(); {
	case strings.Contains(text, "permission denied"):
		remedy = "start it with --group and a group of this user's, or unset " + Variable
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), h.tls == "" && strings.Contains(text, "error reading server preface"):
		remedy = TLS + " names the directory with ca.pem, cert.pem and key.pem"
	}
	return fmt.Errorf("no BuildKit answers at %s (%s): %w; %s", h.Address, Variable, err, remedy)
}

// Warnings are what a session on this BuildKit is told.
func (h *Host) Warnings(w *Worker) []string {
	var all []string
	if !h.private() {
		all = append(all, fmt.Sprintf("the connection to %s (%s) is not encrypted: files, secrets and registry passwords cross the network as they are; %s encrypts it", h.Address, Variable, TLS))
	}
	if w.SharedNetwork {
		all = append(all, "on the BuildKit of "+Variable+" "+Shares+`; networkMode = "bridge" below [worker.oci] of its buildkitd.toml gives each its own`)
	}
	return all
}

// private reports whether nobody else can listen to the connection.
func (h *Host) private() bool {
	u, err := url.Parse(h.Address)
	if err != nil || u.Scheme != "tcp" || h.tls != "" {
		return true
	}
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// Explain adds to an error of a build what is to be changed at a BuildKit that aksflow does not configure. A nil host is
// aksflow's own daemon, of which there is nothing to say.
func (h *Host) Explain(err error) error {
	if h == nil || err == nil {
		return err
	}
	for symptom, remedy := range map[string]string{
		"granting entitlement security.insecure is not allowed": "start it with --allow-insecure-entitlement security.insecure",
		"server gave HTTP response to HTTPS client":             `its buildkitd.toml names registries without TLS: [registry."HOST:PORT"] http = true`,
		"x509: certificate signed by unknown authority":         `its buildkitd.toml names the authorities of registries: [registry."HOST:PORT"] ca = ["FILE"]`,
		"dial tcp 127.0.0.1:":                                   "127.0.0.1 is the machine that it runs on",
	} {
		if strings.Contains(err.Error(), symptom) {
			return fmt.Errorf("%w\nthe build ran on the BuildKit of %s (%s): %s", err, Variable, h.Address, remedy)
		}
	}
	return err
}

// Worker is what a BuildKit says of the part of it that runs containers.
type Worker struct {
	// SharedNetwork says that all containers, and the daemon, have one network. Two of them cannot listen on one port.
	SharedNetwork bool
	Version       string // of BuildKit; "" if it does not say
	Snapshotter   string // what the file systems of containers are made with
	Platforms     []ocispecs.Platform
}

// What BuildKit's workers say of themselves.
const (
	labelNetwork     = "org.mobyproject.buildkit.worker.network"
	labelSnapshotter = "org.mobyproject.buildkit.worker.snapshotter"
)

// Inspect asks a BuildKit for its default worker. One that was just started listens before it answers: it reads its cache first,
// which takes long where that is large and the disk is busy.
func Inspect(ctx context.Context, client *bkclient.Client, limit time.Duration) (*Worker, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", report.Span(limit)))
	defer cancel()
	notice := time.AfterFunc(noticeAfter, func() { report.Info(ctx, "waiting for BuildKit to answer, for up to %s", report.Span(limit)) })
	defer notice.Stop()
	workers, err := client.ListWorkers(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	if len(workers) == 0 {
		return nil, errors.New("it has no worker")
	}
	w := workers[0]
	return &Worker{
		SharedNetwork: w.Labels[labelNetwork] == "host", Snapshotter: w.Labels[labelSnapshotter],
		Version: w.BuildkitVersion.Version, Platforms: w.Platforms,
	}, nil
}

// Shares says what the containers of a worker with a shared network lack.
const Shares = "all containers have one network: two services cannot listen on one port, and whoever reaches that network reaches them"

// suits reports as an error that the worker cannot run aksflow's shim, which is made for the machine that aksflow runs on.
func (w *Worker) suits() error {
	if slices.ContainsFunc(w.Platforms, func(p ocispecs.Platform) bool { return p.OS == "linux" && p.Architecture == runtime.GOARCH }) {
		return nil
	}
	return fmt.Errorf("the BuildKit of %s does not run programs for linux/%s, and aksflow's shim is one: use a BuildKit that does, or aksflow for its platform", Variable, runtime.GOARCH)
}

// String is what the worker is, for a line that says where builds run.
func (w *Worker) String() string {
	parts := []string{w.Version}
	if len(w.Platforms) > 0 {
		parts = append(parts, w.Platforms[0].OS+"/"+w.Platforms[0].Architecture)
	}
	parts = append(parts, w.Snapshotter)
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ", ")
}
