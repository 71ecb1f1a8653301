package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"dagger.io/dagger/engineconn"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// The environment variables by which Dagger's own programs say where an engine is.
const (
	envRunnerHost = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"
	envCLI        = "_EXPERIMENTAL_DAGGER_CLI_BIN"
)

// found is a Dagger engine that can be used.
type found struct {
	cli string // the program that connects to it; empty inside a session
	why string // how it was found, as the end of a sentence
}

// findDagger looks for a Dagger engine without starting or fetching anything. The error says what is missing.
func findDagger(ctx context.Context, env environment) (found, error) {
	if env[contract.SessionPort] != "" {
		return found{why: contract.SessionPort + " is set"}, nil
	}
	cli, err := exec.LookPath(daggerProgram(env))
	if err != nil {
		return found{}, fmt.Errorf("there is no dagger %s on PATH (see https://docs.dagger.io/install)", wantVersion())
	}
	version, err := cliVersion(ctx, cli)
	if err != nil {
		return found{}, err
	}
	if minor(version) != minor(engineconn.CLIVersion) {
		return found{}, fmt.Errorf("%s is version %s, and this aksflow speaks with %s", cli, version, wantVersion())
	}
	if env[envRunnerHost] != "" {
		return found{cli: cli, why: fmt.Sprintf("%s %s is there and %s names an engine", cli, version, envRunnerHost)}, nil
	}
	if err := dockerAnswers(ctx, env["DOCKER_HOST"]); err != nil {
		return found{}, fmt.Errorf("%s %s needs Docker to run its engine, and %w; or set %s to a running engine", cli, version, err, envRunnerHost)
	}
	return found{cli: cli, why: fmt.Sprintf("%s %s and Docker are there", cli, version)}, nil
}

// daggerProgram is the name or path of Dagger's command.
func daggerProgram(env environment) string { return cmp.Or(env[envCLI], "dagger") }

func wantVersion() string { return "v" + minor(engineconn.CLIVersion) + ".x" }

// minor is the part of a version within which Dagger's API stays compatible: 0.21 of v0.21.8.
func minor(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// versionOutput matches what `dagger version` prints: "dagger v0.21.8 (registry.dagger.io/engine:v0.21.8) linux/amd64".
var versionOutput = regexp.MustCompile(`(?m)^dagger (v?[0-9]+\.[0-9]+\.[0-9]+\S*)`)

// probeTimeout is how long a program may take to print its version, and a daemon to accept a connection.
const probeTimeout = 5 * time.Second

func cliVersion(ctx context.Context, cli string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, cli, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", cli, err)
	}
	m := versionOutput.FindStringSubmatch(string(out))
	if m == nil {
		return "", fmt.Errorf("%s version printed %q: is it Dagger's?", cli, strings.TrimSpace(string(out)))
	}
	return m[1], nil
}

// dockerAnswers checks that something listens at the address of Docker, in the form of DOCKER_HOST.
func dockerAnswers(ctx context.Context, host string) error {
	u, err := url.Parse(cmp.Or(host, "unix:///var/run/docker.sock"))
	if err != nil {
		return fmt.Errorf("DOCKER_HOST is no URL: %w", err)
	}
	network, address := "tcp", u.Host
	switch u.Scheme {
	case "unix":
		network, address = "unix", u.Path
	case "tcp", "http", "https":
	default:
		return nil // ssh and the like: the CLI will find out
	}
	dialer := net.Dialer{Timeout: probeTimeout}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("no Docker answers: %w", err)
	}
	return conn.Close()
}

// connectDagger connects through the CLI that was found. The SDK, left to itself, would download one.
func connectDagger(ctx context.Context, f found, o Options) (*Session, error) {
	if o.Session.NoCache {
		return nil, fault.Usagef("a Dagger engine cannot build without its cache: add --engine embedded")
	}
	if o.Session.Cache != nil {
		report.Warn(ctx, "build.cache: a Dagger engine keeps what it builds on its own disk, and takes no cache from a registry; --engine embedded does")
	}
	if f.cli != "" && o.Setenv != nil {
		if err := o.Setenv(envCLI, f.cli); err != nil {
			return nil, err
		}
	}
	conn, err := engineconn.Get(ctx, &engineconn.Config{LogOutput: &engineLog{ctx: ctx}})
	if err != nil {
		return nil, fmt.Errorf("connect to the Dagger engine: %w", errors.Join(err, context.Cause(ctx)))
	}
	return newSession(ctx, conn)
}

// engineLog passes Dagger's progress on as log lines.
type engineLog struct {
	ctx  context.Context
	part string
}

func (l *engineLog) Write(p []byte) (int, error) {
	lines := strings.Split(l.part+string(p), "\n")
	l.part = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		report.Logf(l.ctx, "dagger", "%s", strings.TrimRight(line, "\r"))
	}
	return len(p), nil
}
