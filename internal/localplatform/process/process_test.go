package process

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(script string) Spec {
	return Spec{Name: "server", Path: "/bin/sh", Args: []string{"-c", script}}
}

func never(context.Context) error { return errors.New("not yet") }

func TestAwaitReady(t *testing.T) {
	dir := t.TempDir()
	s := shell("sleep 0.1; touch ready; exec sleep 600")
	s.Args[1] = "cd " + dir + "; " + s.Args[1]
	s.Ready = func(context.Context) error { _, err := os.Stat(dir + "/ready"); return err }
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, s, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	<-p.Done()
	if err := p.Err(); !strings.Contains(err.Error(), "signal: terminated") {
		t.Error(err)
	}
}

func TestEndsBeforeReady(t *testing.T) {
	s := shell("i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; echo no such port >&2; exit 3")
	s.Ready = never
	p, err := Start(t.Context(), s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = p.AwaitReady(t.Context())
	exit := (*ExitError)(nil)
	if !errors.As(err, &exit) {
		t.Fatalf("waiting returns %v", err)
	}
	lines := strings.Split(exit.Tail, "\n")
	if exit.How != "exit status 3" || len(lines) != tailLines || lines[tailLines-1] != "no such port" {
		t.Errorf("%+v", exit)
	}
}

func TestNeverReady(t *testing.T) {
	s := shell("exec sleep 600")
	s.Ready = never
	p, err := Start(t.Context(), s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = p.AwaitReady(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not yet") || !strings.Contains(err.Error(), p.Log) {
		t.Errorf("waiting returns %v", err)
	}
}

func TestTheEndOfTheContextEndsHelpersToo(t *testing.T) {
	// The shell ignores the signal, and so does its child.
	dir := t.TempDir()
	s := shell("trap '' TERM; sleep 600 & echo $! >" + dir + "/helper; wait")
	ctx, cancel := context.WithCancel(t.Context())
	s.Ready = func(context.Context) error { _, err := os.ReadFile(dir + "/helper"); return err }
	p, err := Start(ctx, s, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-p.Done()
	if err := p.Err(); !strings.Contains(err.Error(), "signal: killed") {
		t.Error(err)
	}
	// A group without processes takes no signal; a process that was killed a moment ago may still be in it.
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(-p.cmd.Process.Pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the helper still runs")
		}
	}
}

func TestNoSuchProgram(t *testing.T) {
	if _, err := Start(t.Context(), Spec{Name: "server", Path: "/no/such/program"}, t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "starting server: ") {
		t.Errorf("starting it returns %v", err)
	}
}
