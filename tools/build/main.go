//go:build unix

// Command build builds one program with go build, and says on one line how far it is and how long it will take. What go
// prints is shown only when it fails.
//
//	build -o bin/registry -C tools/registry [-ldflags FLAGS] [-all "NAME=DIR:PACKAGE ..."] PACKAGE
//
// While it compiles, it downloads the modules of the program that stands next in -all, so that neither the processors nor
// the network wait for the other.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	b := &build{screen: newScreen(os.Stderr)}
	flag.StringVar(&b.output, "o", "", "the file to write")
	flag.StringVar(&b.dir, "C", ".", "the directory of the module")
	flag.StringVar(&b.ldflags, "ldflags", "-s -w", "the linker's flags")
	all := flag.String("all", "", "programs that are built one after the other: NAME=DIR:PACKAGE, with spaces between them")
	flag.Parse()
	if b.output == "" || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	b.pkg = flag.Arg(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	fetching, stopFetching := context.WithCancel(ctx)
	var fetch sync.WaitGroup
	if dir, pkg, found := next(*all, b.output); found {
		// Its errors are not shown: the build of that program meets them again.
		fetch.Go(func() { _ = command(fetching, dir, "list", "-deps", pkg).Run() })
	}
	err := b.run(ctx)
	stopFetching()
	fetch.Wait()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if ctx.Err() != nil {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

// next returns the program of the list that is not built yet and follows the one in the file output.
func next(all, output string) (dir, pkg string, found bool) {
	bin, own := filepath.Split(output)
	after := false
	for _, program := range strings.Fields(all) {
		name, what, _ := strings.Cut(program, "=")
		dir, pkg, _ := strings.Cut(what, ":")
		if _, err := os.Stat(filepath.Join(bin, name)); after && err != nil {
			return dir, pkg, true
		}
		after = after || name == own
	}
	return "", "", false
}

// command returns a run of go. The end of ctx ends it with all that it has started.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

type build struct {
	output, dir, ldflags, pkg string

	screen  *screen
	printed []string // by go
	fetched int      // modules
	stale   map[string]bool
	known   time.Time // when stale was known
	done    int       // packages of stale that were compiled since
}

// lookAfter is how long a build may take before it is asked how long it will take. That costs seconds, too.
const lookAfter = 2 * time.Second

func (b *build) run(ctx context.Context) error {
	began := time.Now()
	name := filepath.Base(b.output)
	lines, ended, err := b.start(ctx)
	if err != nil {
		return err
	}
	stale := make(chan map[string]bool, 1)
	listing, stop := context.WithCancel(ctx)
	var list sync.WaitGroup
	defer list.Wait()
	defer stop()
	look := time.After(lookAfter)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for lines != nil {
		select {
		case line, more := <-lines:
			if !more {
				lines = nil
				break
			}
			b.note(line)
		case <-look:
			list.Go(func() { stale <- b.listStale(listing) })
		case b.stale = <-stale:
			b.known = time.Now()
		case <-tick.C:
			b.screen.show(fmt.Sprintf("%-22s %s", name, b.status(time.Since(began))))
		}
	}
	err = <-ended
	b.screen.clear()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("building %s: interrupted", name)
	case err != nil:
		return fmt.Errorf("%s\nbuilding %s: go build %s in %s: %w", strings.Join(told(b.printed), "\n"), name, b.pkg, b.dir, err)
	}
	if took := time.Since(began); took > time.Second {
		fmt.Fprintf(os.Stderr, "%-22s built in %s\n", name, short(took))
	}
	return nil
}

// start starts the build. It returns the lines that go prints, and afterwards how it ended.
func (b *build) start(ctx context.Context) (<-chan string, <-chan error, error) {
	cmd := command(ctx, b.dir, "build", "-v", "-ldflags", b.ldflags, "-o", b.output, b.pkg)
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended, lines := make(chan error, 1), make(chan string)
	go func() {
		err := cmd.Wait()
		writer.Close()
		ended <- err
	}()
	go func() {
		defer close(lines)
		for r := bufio.NewReader(reader); ; {
			line, err := r.ReadString('\n')
			if line != "" {
				lines <- strings.TrimSuffix(line, "\n")
			}
			if err != nil {
				return
			}
		}
	}()
	return lines, ended, nil
}

// listStale returns the packages that have to be compiled.
func (b *build) listStale(ctx context.Context) map[string]bool {
	cmd := command(ctx, b.dir, "list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", b.pkg)
	out, err := cmd.Output()
	if err != nil {
		return nil // the build says what is wrong
	}
	stale := map[string]bool{}
	for _, path := range strings.Fields(string(out)) {
		stale[path] = true
	}
	return stale
}

func (b *build) note(line string) {
	b.printed = append(b.printed, line)
	switch {
	case strings.HasPrefix(line, downloading):
		b.fetched++
	case b.stale[line]:
		b.done++
	}
}

const downloading = "go: downloading "

func (b *build) status(elapsed time.Duration) string {
	switch {
	case b.stale != nil:
		return progress(b.done, len(b.stale), elapsed, time.Since(b.known))
	case b.fetched > 0:
		return fmt.Sprintf("fetched %d modules, %s", b.fetched, short(elapsed))
	}
	return short(elapsed)
}

// told returns the lines that are neither downloads nor names of packages that were compiled.
func told(lines []string) (out []string) {
	for _, line := range lines {
		if !strings.HasPrefix(line, downloading) && (strings.ContainsAny(line, " \t:") || line == "") {
			out = append(out, line)
		}
	}
	return out
}

// progress draws a bar, with the time that passed and the time that is left as far as the packages compiled in counted
// tell.
func progress(done, all int, elapsed, counted time.Duration) string {
	if done >= all {
		return fmt.Sprintf("linking, %s", short(elapsed))
	}
	const width = 20
	full := width * done / all
	text := fmt.Sprintf("[%s%s] %3d%% %s", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*done/all, short(elapsed))
	if done >= 10 && counted > 5*time.Second {
		text += fmt.Sprintf(", %s left", short(counted/time.Duration(done)*time.Duration(all-done)))
	}
	return text
}

// short writes a duration as minutes and seconds.
func short(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	if s < 60 {
		return fmt.Sprintf("%d s", s)
	}
	return fmt.Sprintf("%d:%02d min", s/60, s%60)
}

// screen shows one line that changes. Where there is no terminal, it prints a line a minute.
type screen struct {
	out      *os.File
	terminal bool
	last     time.Time
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, last: time.Now()}
}

func (s *screen) show(line string) {
	if s.terminal {
		fmt.Fprintf(s.out, "\r%s\x1b[K", line)
	} else if time.Since(s.last) >= time.Minute {
		s.last = time.Now()
		fmt.Fprintln(s.out, line)
	}
}

func (s *screen) clear() {
	if s.terminal {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}
