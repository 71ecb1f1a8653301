//go:build linux

// Package run drives `aksflow run` with programs that use the Dagger SDK. The programs are functions of this file: the
// test binary runs them in place of its tests when a variable names one.
package run

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

// The variables that a program gets: which it is, and an image that it can pull.
const (
	programVar = "AKSFLOW_TEST_PROGRAM"
	baseVar    = "AKSFLOW_TEST_PROGRAM_BASE"
)

func TestMain(m *testing.M) {
	program, ok := map[string]func(context.Context, *dagger.Client) error{
		"pipeline": pipeline, "cleanup": cleanup, "shell": shell,
	}[os.Getenv(programVar)]
	if !ok {
		os.Exit(m.Run())
	}
	ctx := context.Background()
	client, err := dagger.Connect(ctx)
	if err == nil {
		err = program(ctx, client)
	}
	var failed *dagger.ExecError
	switch {
	case errors.As(err, &failed):
		os.Exit(failed.ExitCode)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
	os.Exit(0)
}

// pipeline has a container read this program's standard input and a file of the working directory, prints what the
// container says, and ends with the exit code of a second one.
func pipeline(ctx context.Context, client *dagger.Client) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	c := client.Container().From(os.Getenv(baseVar)).
		WithMountedDirectory("/src", client.Host().Directory(".")).
		WithExec([]string{"sh", "-c", "cat /src/file; echo " + string(input)})
	out, err := c.Stdout(ctx)
	if err != nil {
		return err
	}
	fmt.Print(out)
	_, err = c.WithExec([]string{"sh", "-c", "exit 42"}).Sync(ctx)
	return err
}

// cleanup waits for SIGTERM and then still uses its session.
func cleanup(ctx context.Context, client *dagger.Client) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("ready")
	fmt.Println(<-signals)
	text, err := client.Directory().WithNewFile("f", "cleaned up").File("f").Contents(ctx)
	fmt.Println(text)
	return err
}

// shell gives the terminal to a container, and says afterwards that it has it back.
func shell(ctx context.Context, client *dagger.Client) error {
	_, err := client.Container().From(os.Getenv(baseVar)).WithNewFile("/file", "of the container\n").WithWorkdir("/usr").
		Terminal().Sync(ctx)
	if err == nil {
		fmt.Println("back")
	}
	return err
}

// command is `aksflow run` of one of the programs, in a directory of its own with a file in it.
func command(t *testing.T, program string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("runs containers")
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("the embedded engine needs root on Linux")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	bin, err := filepath.Abs(cmp.Or(os.Getenv("AKSFLOW_BIN"), "../../bin"))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "aksflow"), "run", "--engine", "embedded", self)
	cmd.Dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(cmd.Dir, "file"), []byte("from a file\n"), 0o600))
	cmd.Env = append(os.Environ(), programVar+"="+program, "AKSFLOW_BIN="+bin)
	return cmd
}

func TestRunIsTransparent(t *testing.T) {
	t.Parallel()
	cmd := command(t, "pipeline")
	cmd.Env = append(cmd.Env, baseVar+"="+registrytest.Start(t)+"/"+baseimage.Debian)
	cmd.Stdin = strings.NewReader("from stdin")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // its exit code is looked at
	assert.Equal(t, 42, cmd.ProcessState.ExitCode(), "%s", stderr.String())
	assert.Equal(t, "from a file\nfrom stdin\n", stdout.String(), "%s", stderr.String())
	assert.Contains(t, stderr.String(), "cat /src/file; echo from stdin: ", "progress")
	assert.NotContains(t, stderr.String(), "exit code 42", "the program says why it ends, or does not")
}

func TestRunLetsTheProgramCleanUp(t *testing.T) {
	t.Parallel()
	cmd := command(t, "cleanup")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = t.Output()
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if lines.Text() == "ready" {
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		}
	}
	require.NoError(t, cmd.Wait(), "a program that ends well after a signal has ended well")
	assert.Equal(t, []string{"ready", "terminated", "cleaned up"}, said)
}

func TestRunHasALimit(t *testing.T) {
	t.Parallel()
	cmd := command(t, "")
	cmd.Args = append(cmd.Args[:2:2], "--engine", "embedded", "--timeout", "100ms", "sleep", "600")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "run: --timeout 100ms is over")
	assert.Less(t, time.Since(began), time.Minute)
}

func TestRunHasNoTerminal(t *testing.T) {
	t.Parallel()
	cmd := command(t, "shell")
	cmd.Env = append(cmd.Env, baseVar+"="+registrytest.Start(t)+"/"+baseimage.Debian)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "terminal: standard input is not a terminal")
}

func TestRunGivesItsTerminal(t *testing.T) {
	t.Parallel()
	cmd := command(t, "shell")
	cmd.Env = append(cmd.Env, baseVar+"="+registrytest.Start(t)+"/"+baseimage.Debian, "TERM=vt100")
	master, slave := pty(t)
	require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 31, Col: 97}))
	before, err := term.GetState(int(slave.Fd()))
	require.NoError(t, err)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())

	var said bytes.Buffer
	await := func(text string) {
		t.Helper()
		buffer := make([]byte, 4096)
		for !strings.Contains(said.String(), text) {
			n, err := master.Read(buffer)
			require.NoError(t, err, "waiting for %q after %q", text, said.String())
			said.Write(buffer[:n])
		}
		said.Reset()
	}
	say := func(text string) {
		t.Helper()
		_, err := io.WriteString(master, text)
		require.NoError(t, err)
	}
	await("# ") // the shell's prompt
	say("cat /file; pwd; echo kind $TERM; tty >/dev/null && echo is a t''ty\r")
	await("of the container\r\n/usr\r\nkind vt100\r\nis a tty\r\n")
	// The program says that it runs: the terminal's foreground is its own from then on, and gets the signal.
	say("sh -c 'echo star\"\"ted; exec sleep 600'\r")
	await("started\r\n")
	say("\x03")
	await("# ")
	// The size is followed: first as it was at the start, then as it changes.
	say("stty size\r")
	await("31 97\r\n")
	require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 32, Col: 98}))
	say("until [ \"$(stty size)\" = '32 98' ]; do sleep 0.1; done; echo fol''lowed\r")
	await("followed\r\n")
	say("exit 3\r")
	await("exit 3\r\n")
	await("back\r\n")
	require.NoError(t, cmd.Wait(), "how the shell ends is no failure")
	after, err := term.GetState(int(slave.Fd()))
	require.NoError(t, err)
	assert.Equal(t, before, after, "the terminal is as it was")
}

// pty opens a pseudo-terminal. Reads of its master end with the test's patience.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = master.Close() })
	var number int
	raw, err := master.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = slave.Close() })
	require.NoError(t, master.SetReadDeadline(time.Now().Add(3*time.Minute)))
	return master, slave
}
