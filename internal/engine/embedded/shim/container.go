//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// The shell's exit codes for a command that could not be run.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignalBase    = 128
)

// drain is how long output is still read after the command ended: what it left in the background may hold the other
// end of the pipe open for ever.
const drain = time.Second

// execute runs a step: its output goes to BuildKit's log and, with its exit code, to files.
func execute(args []string) (int, error) {
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	out := flags.String("out", "", "directory for output and exit code")
	expect := flags.String("expect", string(contract.Success), "exit codes to accept: SUCCESS, FAILURE or ANY")
	services := flags.Bool("services", false, "end at once if the step's services do not run")
	stdin := flags.String("stdin", "", "file to read standard input from")
	alsoStdout := flags.String("stdout", "", "file of the container that gets standard output too")
	alsoStderr := flags.String("stderr", "", "file of the container that gets standard error too")
	flags.String("key", "", "ignored; makes BuildKit tell apart executions that look the same to it")
	if err := flags.Parse(args); err != nil {
		return exitNotExecutable, err
	}

	if *services {
		running, err := servicesRun()
		if err != nil {
			return exitNotExecutable, err
		}
		if !running {
			return contract.NeedServices, nil
		}
	}
	input := os.Stdin
	if *stdin != "" {
		var err error
		if input, err = os.Open(*stdin); err != nil {
			return exitNotExecutable, err
		}
	}
	stdout, err := newTee(os.Stdout, filepath.Join(*out, contract.Stdout), *alsoStdout)
	if err != nil {
		return exitNotExecutable, err
	}
	stderr, err := newTee(os.Stderr, filepath.Join(*out, contract.Stderr), *alsoStderr)
	if err != nil {
		return exitNotExecutable, err
	}
	code, runErr := run(flags.Args(), input, stdout.in, stderr.in)
	if runErr != nil {
		fmt.Fprintln(stderr.in, runErr)
	}
	if err := errors.Join(stdout.finish(), stderr.finish()); err != nil {
		return exitNotExecutable, err
	}
	if err := os.WriteFile(filepath.Join(*out, contract.ExitCode), []byte(strconv.Itoa(code)), 0o644); err != nil {
		return exitNotExecutable, err
	}
	switch {
	case contract.Expect(*expect).Accepts(code):
		return 0, nil
	case code == 0:
		return contract.UnexpectedSuccess, nil
	default:
		return code, nil
	}
}

// servicesRun looks for the engine's mark in the hosts file.
func servicesRun() (bool, error) {
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(hosts)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == contract.ServicesHost {
			return f[0] != contract.NotRunning, nil
		}
	}
	return true, nil
}

// serve runs a service; its address is what the engine cannot learn from BuildKit.
func serve(args []string) (int, error) {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	ports := flags.String("free", "", "end if somebody listens on one of these ports, separated by commas")
	if err := flags.Parse(args); err != nil {
		return exitNotExecutable, err
	}
	for port := range strings.FieldsFuncSeq(*ports, func(r rune) bool { return r == ',' }) {
		if err := free(port); err != nil {
			return exitNotExecutable, err
		}
	}
	addr, err := address()
	if err != nil {
		return exitNotExecutable, err
	}
	fmt.Fprintf(os.Stderr, "%s%s\n", contract.AddressPrefix, addr)
	return run(flags.Args(), os.Stdin, os.Stdout, os.Stderr)
}

// free returns an error if somebody listens on a port. The container has its network for itself, or shares it with others.
func free(port string) error {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("another process has the port in the network that this BuildKit gives to all containers: %w", err)
	}
	return listener.Close()
}

// The times of reach.
const (
	dialTimeout = time.Second
	dialPause   = 25 * time.Millisecond
)

// reach returns when ports of the container answer at the address by which others reach it.
func reach(ports []string) (int, error) {
	addr, err := address()
	if err != nil {
		return exitNotExecutable, err
	}
	for _, port := range ports {
		for {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(addr.String(), port), dialTimeout)
			if err == nil {
				conn.Close()
				break
			}
			time.Sleep(dialPause)
		}
	}
	return 0, nil
}

// attend runs a command that has a terminal.
func attend(args []string) (int, error) { return run(args[1:], os.Stdin, os.Stdout, os.Stderr) }

// check runs a command, and prints its exit code as the last line. It ends with 0 whatever the command does: BuildKit ends
// a container in which a further process fails.
func check(args []string) (int, error) {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	timeout := flags.Duration("timeout", 0, "end the command after this time")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, flags.Arg(0), flags.Args()[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	err := cmd.Run()
	code := cmd.ProcessState.ExitCode() // -1 if it did not start
	if ctx.Err() != nil {
		fmt.Printf("no answer within %v\n", *timeout)
	} else if code < 0 {
		fmt.Println(err)
	}
	fmt.Printf("\n%s%d\n", contract.CodePrefix, code)
	return 0, nil
}

// address is the container's IPv4 address: the one that is not the loopback interface's.
func address() (net.IP, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP, nil
		}
	}
	return nil, fmt.Errorf("the container has no IPv4 address; it has %v", addrs)
}

// run runs a command as the container's only one: signals go to it, and as process 1 it buries what the command
// leaves behind. The exit code is the shell's: 128 + N after signal N.
func run(args []string, stdin, stdout, stderr *os.File) (int, error) {
	if len(args) == 0 {
		return exitNotFound, errors.New("no command to run")
	}
	path, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return notRun(err)
	}
	if err := nest(); err != nil {
		return exitNotExecutable, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	p, err := os.StartProcess(path, args, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{stdin, stdout, stderr}})
	if err != nil {
		return notRun(err)
	}
	go func() {
		for s := range signals {
			if s != syscall.SIGCHLD && s != syscall.SIGURG { // the runtime's own
				p.Signal(s)
			}
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return exitNotExecutable, fmt.Errorf("wait for %s: %w", args[0], err)
		case pid != p.Pid:
		case status.Signaled():
			return exitSignalBase + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

func notRun(err error) (int, error) {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitNotFound, err
	}
	return exitNotExecutable, err
}

// tee copies what is written to in to files and to an output.
type tee struct {
	in     *os.File
	out    *os.File
	done   chan struct{}
	finish func() error
}

// newTee creates the files that are named; an empty name is none.
func newTee(output *os.File, names ...string) (*tee, error) {
	writers := []io.Writer{}
	var closers []func() error
	for _, name := range names {
		if name == "" {
			continue
		}
		file, err := os.Create(name)
		if err != nil {
			return nil, err
		}
		writers, closers = append(writers, file), append(closers, file.Close)
	}
	writers = append(writers, output)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	t := &tee{in: w, out: r, done: make(chan struct{})}
	var copyErr error
	go func() {
		defer close(t.done)
		_, copyErr = io.Copy(io.MultiWriter(writers...), r)
	}()
	t.finish = sync.OnceValue(func() error {
		w.Close()
		select {
		case <-t.done:
			for _, close := range closers {
				copyErr = errors.Join(copyErr, close())
			}
			return copyErr
		case <-time.After(drain):
			return nil // a process in the background still writes; it ends with this one
		}
	})
	return t, nil
}
