package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// serve is a program that listens on a port, after some seconds, and answers each connection with a line: a text, and
// an ID that tells one instance from another.
const serve = `use IO::Socket::INET;
my ($port, $text, $delay) = @ARGV;
$SIG{TERM} = sub { exit 0 };
open my $f, "<", "/proc/sys/kernel/random/uuid"; chomp(my $id = <$f>);
sleep $delay if $delay;
my $l = IO::Socket::INET->new(LocalAddr => "0.0.0.0", LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "listen: $!";
while (my $c = $l->accept) { print $c "$text $id\n"; close $c }
`

// serving is the command line of that program.
func serving(port int, text string, delay ...int) []string {
	args := []string{"perl", "-e", serve, fmt.Sprint(port), text}
	for _, seconds := range delay {
		args = append(args, fmt.Sprint(seconds))
	}
	return args
}

// asking is the command line that prints what HOST:PORT answers, once.
func asking(host string, port int) []string {
	return bash(fmt.Sprintf("cat < /dev/tcp/%s/%d", host, port))
}

// server is a container that serves that text on port 8080.
func (r *rig) server(text string) *dagger.Service {
	return r.fresh().WithExposedPort(8080).AsService(dagger.ContainerAsServiceOpts{Args: serving(8080, text)})
}

// service judges services: their instances, when they are ready, and what they do to their clients' cache.
func (r *rig) service(t *testing.T) {
	t.Run("Answers", func(t *testing.T) {
		t.Parallel()
		srv := r.server("hello")
		out, err := r.base().WithServiceBinding("one", srv).WithServiceBinding("two", srv).
			WithExec(bash("cat < /dev/tcp/one/8080; cat < /dev/tcp/two/8080")).Stdout(within(t))
		require.NoError(t, err)
		lines := strings.Fields(out)
		require.Len(t, lines, 4)
		assert.Equal(t, "hello", lines[0])
		assert.Equal(t, lines[:2], lines[2:], "one service under two names")
	})

	// A HEALTHCHECK says when a service is ready, not its port.
	t.Run("IsReadyWhenHealthy", func(t *testing.T) {
		t.Parallel()
		srv := r.dir(map[string]string{"Dockerfile": "FROM " + r.Base + "\n# " + nonce() + `
ENV NONCE=` + nonce() + `
HEALTHCHECK --interval=500ms --start-period=1s --retries=60 CMD test -e /tmp/ready
EXPOSE 8080
`}).DockerBuild().AsService(dagger.ContainerAsServiceOpts{Args: bash(
			`(sleep 4; touch /tmp/ready) & exec perl -e '` + serve + `' 8080 "$NONCE"`)})
		began := time.Now()
		_, err := srv.Start(within(t))
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(began), 4*time.Second)
	})

	t.Run("IsNotReadyWhenUnhealthy", func(t *testing.T) {
		t.Parallel()
		srv := r.dir(map[string]string{"Dockerfile": "FROM " + r.Base + `
ENV NONCE=` + nonce() + `
HEALTHCHECK --interval=200ms --retries=2 CMD echo no luck today; exit 1
EXPOSE 8080
`}).DockerBuild().AsService(dagger.ContainerAsServiceOpts{Args: serving(8080, "unhealthy")})
		_, err := srv.Start(within(t))
		require.Error(t, err)
	})

	t.Run("ConnectsInBothDirectionsOfAChain", func(t *testing.T) {
		t.Parallel()
		// The server relays what the one behind it says.
		relay := r.fresh().WithServiceBinding("behind", r.server("far")).WithExposedPort(9000).
			AsService(dagger.ContainerAsServiceOpts{Args: bash(
				`exec perl -e '` + serve + `' 9000 "relayed $(cat < /dev/tcp/behind/8080)"`)})
		out, err := r.base().WithServiceBinding("front", relay).WithExec(asking("front", 9000)).Stdout(within(t))
		require.NoError(t, err)
		assert.Contains(t, out, "relayed far ")
	})

	t.Run("ImageIsTheService", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		// The command, its environment, its user and the port to wait for all stand in the Dockerfile.
		image := r.dir(map[string]string{
			"serve.pl": serve,
			"Dockerfile": "FROM " + r.Base + `
WORKDIR /srv
COPY serve.pl .
ENV TEXT=` + nonce() + `
EXPOSE 8080
USER nobody
ENTRYPOINT ["bash", "-c", "exec perl serve.pl 8080 \"$0-$(id -un)-$TEXT\" 2"]
CMD ["default"]
`}).DockerBuild()
		for want, opts := range map[string]dagger.ContainerAsServiceOpts{
			"default-nobody-": {UseEntrypoint: true},
			"given-nobody-":   {UseEntrypoint: true, Args: []string{"given"}},
			"plain ":          {Args: serving(8080, "plain", 2)},
		} {
			out, err := r.base().WithServiceBinding("srv", image.AsService(opts)).WithExec(asking("srv", 8080)).Stdout(ctx)
			require.NoError(t, err, "%+v", opts)
			assert.True(t, strings.HasPrefix(out, want), "%q starts with %q", out, want)
		}
	})

	t.Run("DefaultCommandIsTheService", func(t *testing.T) {
		t.Parallel()
		image := r.dir(map[string]string{
			"serve.pl": serve,
			"Dockerfile": "FROM " + r.Base + "\nCOPY serve.pl /\nEXPOSE 8080\nCMD [\"perl\", \"/serve.pl\", \"8080\", \"" +
				nonce() + "\"]\n",
		}).DockerBuild()
		for _, opts := range []dagger.ContainerAsServiceOpts{{}, {UseEntrypoint: true}} {
			out, err := r.base().WithServiceBinding("srv", image.AsService(opts)).WithExec(asking("srv", 8080)).Stdout(within(t))
			require.NoError(t, err, "%+v", opts)
			assert.NotEmpty(t, out)
		}
	})

	t.Run("TarballIsTheService", func(t *testing.T) {
		t.Parallel()
		image := r.dir(map[string]string{
			"serve.pl": serve,
			"Dockerfile": "FROM " + r.Base + "\nCOPY serve.pl /\nEXPOSE 8080\nENTRYPOINT [\"perl\", \"/serve.pl\", \"8080\", \"" +
				nonce() + "\", \"2\"]\n",
		}).DockerBuild()
		imported := r.Container().Import(image.AsTarball()).WithExposedPort(8080)
		out, err := r.base().WithServiceBinding("srv", imported.AsService(dagger.ContainerAsServiceOpts{UseEntrypoint: true})).
			WithExec(asking("srv", 8080)).Stdout(within(t))
		require.NoError(t, err)
		assert.NotEmpty(t, out)
	})

	t.Run("ClientsWaitUntilItIsReady", func(t *testing.T) {
		t.Parallel()
		srv := r.fresh().WithExposedPort(8080).WithExposedPort(8081).AsService(dagger.ContainerAsServiceOpts{Args: bash(
			`perl -e '` + serve + `' 8080 first & exec perl -e '` + serve + `' 8081 second 3`)})
		out, err := r.base().WithServiceBinding("srv", srv).
			WithExec(bash("cat < /dev/tcp/srv/8080; cat < /dev/tcp/srv/8081")).Stdout(within(t))
		require.NoError(t, err)
		assert.Contains(t, out, "first ")
		assert.Contains(t, out, "second ")
	})

	t.Run("OneInstance", func(t *testing.T) {
		t.Parallel()
		shared := r.server("shared")
		relay := r.fresh().WithServiceBinding("store", shared).WithExposedPort(9000).
			AsService(dagger.ContainerAsServiceOpts{Args: bash(
				`exec perl -e '` + serve + `' 9000 "$(cat < /dev/tcp/store/8080)"`)})
		answers := make([]string, 3)
		var clients errgroup.Group
		for i := range answers {
			clients.Go(func() error {
				out, err := r.fresh().WithServiceBinding("store", shared).WithServiceBinding("app", relay).
					WithExec(bash("cat < /dev/tcp/store/8080; cat < /dev/tcp/app/9000")).Stdout(within(t))
				answers[i] = out
				return err
			})
		}
		require.NoError(t, clients.Wait())
		for _, answer := range answers {
			fields := strings.Fields(answer)
			require.Len(t, fields, 5)
			assert.Equal(t, fields[1], fields[3], "the app and the tests use one store")
			assert.Equal(t, answers[0], answer, "and so do all tests")
		}
	})

	t.Run("EarlyExitIsLoud", func(t *testing.T) {
		t.Parallel()
		srv := r.fresh().WithExposedPort(8080).AsService(dagger.ContainerAsServiceOpts{
			Args: bash("echo out of cheese; echo redo from start >&2; exit 3")})
		_, err := r.base().WithServiceBinding("srv", srv).WithExec([]string{"true"}).Sync(within(t))
		var failed *dagger.ExecError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, 3, failed.ExitCode)
		assert.Contains(t, failed.Stdout, "out of cheese")
		assert.Contains(t, failed.Stderr, "redo from start")
		_, err = srv.Start(within(t))
		assert.Error(t, err)
	})

	t.Run("ExitWithinTheWaitIsLoud", func(t *testing.T) {
		t.Parallel()
		srv := r.fresh().WithExposedPort(8080).WithExposedPort(8081).AsService(dagger.ContainerAsServiceOpts{
			Args: bash("timeout 2 perl -e '" + serve + "' 8080 x || echo gave up >&2; exit 5")})
		_, err := r.base().WithServiceBinding("srv", srv).WithExec([]string{"true"}).Sync(within(t))
		var failed *dagger.ExecError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, 5, failed.ExitCode)
		assert.Contains(t, failed.Stderr, "gave up")
	})

	t.Run("PortNeedNotAnswer", func(t *testing.T) {
		t.Parallel()
		srv := r.fresh().WithExposedPort(8080, dagger.ContainerWithExposedPortOpts{ExperimentalSkipHealthcheck: true}).
			AsService(dagger.ContainerAsServiceOpts{Args: bash("sleep 3600")})
		_, err := r.fresh().WithServiceBinding("srv", srv).WithExec([]string{"true"}).Sync(within(t))
		require.NoError(t, err)
	})

	t.Run("NeverReadyIsCancelled", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		volume := nonce()
		other, done := r.with(t)
		srv := other.fresh().WithMountedCache("/v", other.CacheVolume(volume)).WithExposedPort(8080).
			AsService(dagger.ContainerAsServiceOpts{Args: bash(heartbeat)})
		waiting, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := other.fresh().WithServiceBinding("srv", srv).WithExec([]string{"true"}).Sync(waiting)
			ended <- err
		}()
		require.NoError(t, r.awaitHeartbeat(ctx, volume))
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		done()
		require.NoError(t, r.awaitSilence(ctx, volume))
	})

	t.Run("EachSessionHasItsOwn", func(t *testing.T) {
		t.Parallel()
		key := nonce()
		ask := func(r *rig) string {
			srv := r.base().WithEnvVariable("KEY", key).WithExposedPort(8080).
				AsService(dagger.ContainerAsServiceOpts{Args: serving(8080, "own")})
			out, err := r.fresh().WithServiceBinding("srv", srv).WithExec(asking("srv", 8080)).Stdout(within(t))
			require.NoError(t, err)
			return out
		}
		one, closeOne := r.with(t)
		two, closeTwo := r.with(t)
		defer closeTwo()
		first, second := ask(one), ask(two)
		assert.NotEqual(t, first, second)
		closeOne()
		assert.Equal(t, second, ask(two), "after the other session has ended")
	})

	t.Run("StartAndStop", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		srv := r.server("explicit")
		started, err := srv.Start(ctx)
		require.NoError(t, err)
		ask := func() string {
			out, err := r.fresh().WithServiceBinding("srv", srv).WithExec(asking("srv", 8080)).Stdout(ctx)
			require.NoError(t, err)
			return out
		}
		first := ask()
		assert.Equal(t, first, ask())
		_, err = started.Stop(ctx, dagger.ServiceStopOpts{Kill: true})
		require.NoError(t, err)
		assert.NotEqual(t, first, ask(), "the instance was stopped")
	})

	t.Run("Endpoint", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		srv := r.server("endpoint")
		host, err := srv.Hostname(ctx)
		require.NoError(t, err)
		require.NotEmpty(t, host)
		endpoint, err := srv.Endpoint(ctx)
		require.NoError(t, err)
		assert.Equal(t, host+":8080", endpoint)
		endpoint, err = srv.Endpoint(ctx, dagger.ServiceEndpointOpts{Port: 1234, Scheme: "http"})
		require.NoError(t, err)
		assert.Equal(t, "http://"+host+":1234", endpoint)
	})

	// A client whose command, files and environment are the same must still run again when what it talks to is not:
	// else a broken app hides behind the tests of the last good one.
	t.Run("ChangedServiceRunsClientsAgain", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		key := nonce()
		base := r.base().WithEnvVariable("KEY", key).WithExposedPort(8080)
		args := func(text string) dagger.ContainerAsServiceOpts {
			return dagger.ContainerAsServiceOpts{Args: serving(8080, text)}
		}
		fromFile := dagger.ContainerAsServiceOpts{Args: bash(`exec perl -e '` + serve + `' 8080 "$(cat /text)"`)}
		fromVariable := dagger.ContainerAsServiceOpts{Args: bash(`exec perl -e '` + serve + `' 8080 "$TEXT"`)}
		fromService := dagger.ContainerAsServiceOpts{Args: bash(`exec perl -e '` + serve + `' 8080 "$(cat < /dev/tcp/behind/8080)"`)}
		built := func(text string) *dagger.Service {
			return r.dir(map[string]string{
				"serve.pl":   serve,
				"Dockerfile": "FROM " + r.Base + "\nCOPY serve.pl /\nRUN echo " + text + " > /text\nEXPOSE 8080\n# " + key + "\n",
			}).DockerBuild().AsService(fromFile)
		}
		ask := func(srv *dagger.Service) string {
			out, err := base.WithServiceBinding("srv", srv).WithExec(asking("srv", 8080)).Stdout(ctx)
			require.NoError(t, err)
			return strings.Fields(out)[0]
		}
		assert.Equal(t, "1", ask(base.AsService(args("1"))))
		assert.Equal(t, "2", ask(base.AsService(args("2"))), "arguments")
		assert.Equal(t, "3", ask(base.WithEnvVariable("TEXT", "3").AsService(fromVariable)))
		assert.Equal(t, "4", ask(base.WithEnvVariable("TEXT", "4").AsService(fromVariable)), "environment")
		assert.Equal(t, "5", ask(base.WithDirectory("/", r.dir(map[string]string{"text": "5"})).AsService(fromFile)))
		assert.Equal(t, "6", ask(base.WithDirectory("/", r.dir(map[string]string{"text": "6"})).AsService(fromFile)), "files")
		assert.Equal(t, "7", ask(built("7")))
		assert.Equal(t, "8", ask(built("8")), "image")
		imported := func(text string) *dagger.Service {
			file := filepath.Join(t.TempDir(), "image.tar")
			_, err := base.WithDirectory("/", r.dir(map[string]string{"text": text})).AsTarball().Export(ctx, file)
			require.NoError(t, err)
			return r.Container().Import(r.Host().File(file)).WithExposedPort(8080).AsService(fromFile)
		}
		assert.Equal(t, "a", ask(imported("a")))
		assert.Equal(t, "b", ask(imported("b")), "a tarball")
		assert.Equal(t, "9", ask(base.WithServiceBinding("behind", base.AsService(args("9"))).AsService(fromService)))
		assert.Equal(t, "10", ask(base.WithServiceBinding("behind", base.AsService(args("10"))).AsService(fromService)),
			"a service of the service")
		assert.Equal(t, "1", ask(base.AsService(args("1"))), "as at first")
	})

	t.Run("UnchangedServiceKeepsClientsCached", func(t *testing.T) {
		t.Parallel()
		key := nonce()
		run := func() string {
			r, done := r.with(t)
			defer done()
			srv := r.base().WithEnvVariable("KEY", key).WithExposedPort(8080).
				AsService(dagger.ContainerAsServiceOpts{Args: serving(8080, "same")})
			out, err := r.base().WithServiceBinding("srv", srv).WithExec(asking("srv", 8080)).Stdout(within(t))
			require.NoError(t, err)
			return out
		}
		assert.Equal(t, run(), run())
	})

	t.Run("EndsWithTheSession", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		volume := nonce()
		other, done := r.with(t)
		beating := other.fresh().WithMountedCache("/v", other.CacheVolume(volume)).WithExposedPort(8080).
			AsService(dagger.ContainerAsServiceOpts{Args: bash(`(` + heartbeat + `) & exec perl -e '` + serve + `' 8080 x`)})
		_, err := beating.Start(ctx)
		require.NoError(t, err)
		require.NoError(t, r.awaitHeartbeat(ctx, volume))
		done()
		require.NoError(t, r.awaitSilence(ctx, volume))
	})
}
