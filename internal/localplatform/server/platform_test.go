//go:build linux

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
	"github.com/aksflow/aksflow/internal/tool"
)

// TestMain runs the tests in a network and a mount namespace of their own, so that changes by other programs on this
// machine are not mistaken for something that a platform left behind.
func TestMain(m *testing.M) {
	Main()
	const inside = "PLATFORM_TEST_INSIDE"
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) != "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	// Making the images needs the network, which the namespace does not have.
	if _, err := baseimage.Ensure(context.Background(), ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tests := exec.Command("/proc/self/exe", os.Args[1:]...)
	tests.Env = append(os.Environ(), inside+"=1")
	tests.Stdin, tests.Stdout, tests.Stderr = os.Stdin, os.Stdout, os.Stderr
	tests.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var exit *exec.ExitError
	switch err := tests.Run(); {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// need skips a test if no platform can be started.
func need(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a platform needs root")
	}
	if _, err := tool.Find("kubernetes", ""); err != nil {
		t.Skipf("no platform for this test: %v", err)
	}
}

// up starts a platform on free ports, which ends with the test.
func up(t *testing.T, o localplatform.Options) *localplatform.Info {
	t.Helper()
	need(t)
	if o.State == "" {
		o.State = filepath.Join(t.TempDir(), "platform")
	}
	o.FreePorts = true
	t.Cleanup(func() { down(t, o.State) })
	info, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func down(t *testing.T, state string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := Down(ctx, state); err != nil {
		t.Error(err)
	}
}

// machine describes everything on the host that a platform could leave behind.
func machine(t *testing.T, state string) string {
	t.Helper()
	need(t)
	var b strings.Builder
	for _, command := range [][]string{
		{"ip", "-brief", "link"}, {"ip", "route", "show", "table", "all"}, {"ip", "netns"}, {"iptables-save"},
		{"sysctl", "vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops", "net.ipv4.ip_forward"},
	} {
		path, err := tool.Find(command[0], "")
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(t.Context(), path, command[1:]...).Output()
		if err != nil {
			t.Fatalf("%s: %v", strings.Join(command, " "), err)
		}
		for line := range strings.Lines(string(out)) {
			// Skip times and packet counters.
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
				b.WriteString(line)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(mounts)
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hierarchies {
		groups, err := filepath.Glob(filepath.Join(h.Mountpoint, openTestState(t, state).group()+"*"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, groups)
	}
	fmt.Fprintln(&b, processes(t, state))
	return b.String()
}

func openTestState(t *testing.T, dir string) state {
	t.Helper()
	s, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// processes returns the command lines of processes that name the state directory or run in it.
func processes(t *testing.T, state string) []string {
	t.Helper()
	var found []string
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // the process may end meanwhile
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		if bytes.Contains(line, []byte(state)) || cwd == state {
			found = append(found, filepath.Base(dir)+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// unchanged fails the test if the machine differs from before.
func unchanged(t *testing.T, state, before string) {
	t.Helper()
	after := machine(t, state)
	if after == before {
		return
	}
	was := strings.Split(before, "\n")
	for line := range strings.SplitSeq(after, "\n") {
		if !slices.Contains(was, line) {
			t.Errorf("left behind: %s", line)
		}
	}
	now := strings.Split(after, "\n")
	for _, line := range was {
		if !slices.Contains(now, line) {
			t.Errorf("gone: %s", line)
		}
	}
}

// find returns the process ID of the platform's process whose command line has all words.
func find(t *testing.T, state string, words ...string) int {
	t.Helper()
	for _, p := range processes(t, state) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p, w) }) {
			var pid int
			if _, err := fmt.Sscan(p, &pid); err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no process %q among %q", words, processes(t, state))
	return 0
}

// crashed waits until Load reports a crash.
func crashed(t *testing.T, state string) *localplatform.CrashError {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, err := localplatform.Load(state)
		if e := (*localplatform.CrashError)(nil); errors.As(err, &e) {
			return e
		}
		if time.Now().After(deadline) {
			t.Fatalf("no crash is reported: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// kubectl runs a kubectl of the platform's version.
func kubectl(t *testing.T, info *localplatform.Info, stdin string, args ...string) string {
	t.Helper()
	program, err := tool.Find("kubectl", "")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--kubeconfig=" + info.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// workload uses what an app needs of a cluster: an image of Docker Hub by its short name, a volume that belongs to a group,
// a Service, DNS names.
const workload = `
apiVersion: v1
kind: Namespace
metadata:
  name: app
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: redis
  namespace: app
spec:
  serviceName: redis
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec:
      securityContext: {fsGroup: 999, runAsUser: 999, runAsGroup: 999, runAsNonRoot: true}
      containers:
        - name: redis
          image: redis:8
          readinessProbe:
            exec: {command: [sh, -c, "redis-cli -h redis.app ping && touch /data/mine"]}
            periodSeconds: 1
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 16Mi}}
---
apiVersion: v1
kind: Service
metadata:
  name: redis
  namespace: app
spec:
  publishNotReadyAddresses: true # the probe asks through it
  selector: {app: redis}
  ports: [{port: 6379}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: app
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: debian:trixie-slim
          args:
            - perl
            - -MIO::Socket::INET
            - -e
            - |
              my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die $!;
              while (my $c = $s->accept) {
                my $host;
                while (my $line = <$c>) { $host = $1 if $line =~ /^Host: (\S+)/i; last if $line =~ /^\r?$/ }
                print $c "HTTP/1.0 200 OK\r\n\r\nthis is $host";
              }
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: app
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

func TestKubernetes(t *testing.T) {
	state := filepath.Join(t.TempDir(), "platform")
	before := machine(t, state)
	info := up(t, localplatform.Options{State: state, Parts: []localplatform.Part{localplatform.Kubernetes}})

	kubectl(t, info, workload, "apply", "-f", "-")
	kubectl(t, info, "", "rollout", "status", "statefulset/redis", "--namespace=app", "--timeout=90s")
	if out := kubectl(t, info, "", "exec", "redis-0", "--namespace=app", "--", "redis-cli", "-h", "redis", "ping"); out != "PONG\n" {
		t.Errorf("a pod reaches the Service: %q", out)
	}
	kubectl(t, info, "", "rollout", "status", "deployment/web", "--namespace=app", "--timeout=90s")
	kubectl(t, info, "", "wait", "service/web", "--namespace=app", "--for=jsonpath={.status.loadBalancer.ingress[0].hostname}=web.app.localhost", "--timeout=30s")
	address := kubectl(t, info, "", "get", "service", "web", "--namespace=app", "--output=jsonpath={.status.loadBalancer.ingress[1].ip}")
	const ask = `exec 3<>/dev/tcp/$0/80; printf 'GET / HTTP/1.0\r\nHost: me\r\n\r\n' >&3; tail -1 <&3`
	if out := kubectl(t, info, "", "exec", "redis-0", "--namespace=app", "--", "bash", "-c", ask, address); out != "this is me" {
		t.Errorf("a pod reaches the load balancer at %q: %q", address, out)
	}
	for url, want := range map[string]string{
		info.AppURL("web", "app"):                      fmt.Sprintf("this is web.app.localhost:%d", info.Apps),
		info.AppURL("other", "app"):                    "the cluster has no Service other in the namespace app\n",
		fmt.Sprintf("http://localhost:%d/", info.Apps): "\"localhost\" names no app: open http://SERVICE.NAMESPACE.localhost:PORT/\n",
	} {
		if got := get(t, url); got != want {
			t.Errorf("GET %s: %q", url, got)
		}
	}

	t.Run("is used again", func(t *testing.T) {
		again, err := Up(t.Context(), localplatform.Options{State: state, Parts: []localplatform.Part{localplatform.Registry}})
		if err != nil {
			t.Fatal(err)
		}
		if again.PID != info.PID {
			t.Errorf("another platform runs: %+v", again)
		}
	})
	t.Run("leaves nothing", func(t *testing.T) {
		down(t, state)
		unchanged(t, state, before)
		if _, err := localplatform.Load(state); err == nil || errors.As(err, new(*localplatform.CrashError)) {
			t.Errorf("Load after Down: %v", err)
		}
		down(t, state) // again, when nothing runs
	})
}

// get gets a URL below localhost without asking a name server.
func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.URL.Host = req.URL.Host, "127.0.0.1:"+req.URL.Port()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestKilled(t *testing.T) {
	state := filepath.Join(t.TempDir(), "platform")
	before := machine(t, state)
	for _, test := range []struct {
		name   string
		words  []string // of the command line of the process to kill
		reason string
		heal   func()
	}{
		{"keeper, then up", []string{"aksflow-platform-keeper"}, "it was killed", func() {}},
		{"keeper, then down", []string{"aksflow-platform-keeper"}, "it was killed", func() { down(t, state) }},
		{"first process", []string{"aksflow-platform-init"}, "its first process ended: signal: killed", nil},
		{"supervisor", []string{"aksflow-platform-supervisor"}, "its first process ended: exit status 1", nil},
		{"part", []string{"registry", "serve"}, "registry ended (signal: killed)", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			info, err := Up(t.Context(), localplatform.Options{State: state, FreePorts: true, Parts: []localplatform.Part{localplatform.Registry, localplatform.Git}})
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(find(t, state, test.words...), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			e := crashed(t, state)
			if !strings.HasPrefix(e.Reason, test.reason) {
				t.Errorf("the crash is explained as: %v", e)
			}
			if test.heal != nil {
				test.heal()
				return
			}
			unchanged(t, state, before) // without an Up or Down
			if _, err := http.Get("http://" + info.Registry + "/v2/"); err == nil {
				t.Error("the registry still answers")
			}
		})
	}
	down(t, state)
	unchanged(t, state, before)
}

func TestKilledWithPods(t *testing.T) {
	state := filepath.Join(t.TempDir(), "platform")
	before := machine(t, state)
	info := up(t, localplatform.Options{State: state, Parts: []localplatform.Part{localplatform.Kubernetes}})
	kubectl(t, info, workload, "apply", "-f", "-")
	kubectl(t, info, "", "rollout", "status", "statefulset/redis", "--namespace=app", "--timeout=90s")
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	down(t, state)
	unchanged(t, state, before)
}

func TestCrashTellsTheEndOfTheLog(t *testing.T) {
	info := up(t, localplatform.Options{Parts: []localplatform.Part{localplatform.Registry}})
	// SIGABRT makes a Go program print its goroutines and exit.
	if err := syscall.Kill(find(t, info.State, "registry", "serve"), syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	e := crashed(t, info.State)
	log, err := os.ReadFile(filepath.Join(info.State, "logs", "registry.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(e.Reason, "registry ended (exit status 2)") || !strings.HasSuffix(e.Reason, last) {
		t.Errorf("the crash is explained as: %v\nwant the line: %s", e, last)
	}
}

func TestCancelled(t *testing.T) {
	state := filepath.Join(t.TempDir(), "platform")
	before := machine(t, state)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() {
		// The control plane is starting when the API's certificates are there.
		for {
			if _, err := os.Stat(filepath.Join(state, "run", "kubernetes", "admin.kubeconfig")); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		close(started)
		cancel()
	}()
	_, err := Up(ctx, localplatform.Options{State: state, FreePorts: true, Parts: []localplatform.Part{localplatform.Kubernetes}})
	<-started
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "ready so far: ") {
		t.Errorf("Up: %v", err)
	}
	unchanged(t, state, before)
}

func TestSideBySide(t *testing.T) {
	need(t)
	options := []localplatform.Options{
		{Parts: []localplatform.Part{localplatform.Kubernetes}}, {Parts: []localplatform.Part{localplatform.Kubernetes, localplatform.Git}},
	}
	platforms := make([]*localplatform.Info, len(options))
	var starts errgroup.Group
	for i, o := range options {
		o.State, o.FreePorts = filepath.Join(t.TempDir(), "platform"), true
		t.Cleanup(func() { down(t, o.State) })
		starts.Go(func() (err error) {
			platforms[i], err = Up(t.Context(), o)
			return err
		})
	}
	if err := starts.Wait(); err != nil {
		t.Fatal(err)
	}
	a, b := platforms[0], platforms[1]
	if a.Registry == b.Registry || a.Apps == b.Apps || a.Kubeconfig == b.Kubeconfig {
		t.Fatalf("they share: %+v %+v", a, b)
	}
	kubectl(t, a, "", "create", "namespace", "of-a")
	if out := kubectl(t, b, "", "get", "namespaces", "--output=name"); strings.Contains(out, "of-a") {
		t.Errorf("the other cluster has %s", out)
	}
	down(t, a.State)
	if _, err := localplatform.Load(b.State); err != nil {
		t.Error(err)
	}
	if got := get(t, "http://"+b.Registry+"/v2/"); got != "{}" {
		t.Errorf("the other registry answers %q", got)
	}
	kubectl(t, b, "", "get", "nodes")

	t.Run("parts join", func(t *testing.T) {
		kubectl(t, b, "", "create", "namespace", "of-b")
		more, err := Up(t.Context(), localplatform.Options{State: b.State, Parts: []localplatform.Part{localplatform.Flux}})
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := localplatform.Load(b.State)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range []*localplatform.Info{more, loaded} {
			if info.PID != b.PID || info.FluxNamespace == "" || !info.Has(localplatform.Flux) || info.Registry != b.Registry {
				t.Errorf("the platform with Flux: %+v", info)
			}
		}
		kubectl(t, b, "", "get", "namespaces", "of-b", more.FluxNamespace)
		fluxSyncs(t, more)
	})
}

func TestRegistryPassword(t *testing.T) {
	info := up(t, localplatform.Options{Parts: []localplatform.Part{localplatform.Registry}, RegistryUser: "me", RegistryPassword: "secret"})
	for user, want := range map[string]int{"": 401, "me:wrong@": 401, "me:secret@": 200} {
		resp, err := http.Get("http://" + user + info.Registry + "/v2/library/debian/tags/list")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("as %q: %s", user, resp.Status)
		}
	}
}

func TestSeed(t *testing.T) {
	info := up(t, localplatform.Options{Parts: []localplatform.Part{localplatform.Git}})
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "a"), []byte("a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	commit, err := info.Seed(t.Context(), "app", "main", source)
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(info.GitPasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(info.RepositoryURL("app"), "://", "://"+info.GitUser+":"+string(password)+"@", 1)
	out, err := exec.CommandContext(t.Context(), "git", "ls-remote", url, "refs/heads/main").Output()
	if err != nil || !strings.HasPrefix(string(out), commit) {
		t.Errorf("git ls-remote: %s %v", out, err)
	}
}

func TestTakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, free := range []bool{false, true} {
		l, err := listen(port, free)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if got := l.Addr().(*net.TCPAddr).Port; got == port || got == 0 {
			t.Errorf("listen(%d, %v) is on port %d", port, free, got)
		}
	}
	taken.Close()
	l, err := listen(port, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := l.Addr().(*net.TCPAddr).Port; got != port {
		t.Errorf("the port %d is free, but %d is listened on", port, got)
	}
}

func TestAppName(t *testing.T) {
	for _, host := range []string{"localhost", "localhost:80", "a.localhost", "a.b.c.localhost", "a.b.example", "10.0.0.1:80", ""} {
		if u, err := target(t.Context(), nil, host); err == nil {
			t.Errorf("%q means %s", host, u)
		}
	}
}

func TestDependencies(t *testing.T) {
	got, err := withDependencies([]localplatform.Part{localplatform.ArgoCD, localplatform.Registry})
	want := []localplatform.Part{localplatform.Registry, localplatform.Kubernetes, localplatform.Git, localplatform.ArgoCD}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ArgoCD brings %v %v", got, err)
	}
	if _, err := withDependencies([]localplatform.Part{"x"}); err == nil {
		t.Error("an unknown part is no error")
	}
}
