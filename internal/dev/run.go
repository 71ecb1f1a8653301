package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aksflow/aksflow/internal/core/build/files"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// Options say what Run delivers.
type Options struct {
	// Open opens a delivery of the files as they are now. It is called from several goroutines.
	Open Open
	// Namespace is the developer's own; "" means that of [Namespace] on the local platform.
	Namespace string
	// Keep leaves at the end what was deployed.
	Keep bool
	// Skip are directories that are not watched, by their absolute paths: what aksflow itself writes to.
	Skip []string
	// Address returns where this machine reaches a Service. Nil where it reaches none: connections then go through the API server.
	Address func(service, namespace string) string
}

// removeLimit bounds how long Run takes to remove what was deployed.
const removeLimit = 90 * time.Second

// Run delivers a work tree, and again at each save, until ctx ends. Then it removes what it deployed. It returns an error
// when it cannot begin, or not remove everything.
func Run(ctx context.Context, o Options) (err error) {
	session, err := NewSession(o.Namespace)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	watcher, err := begin(ctx, o, session)
	if err != nil {
		return err
	}
	defer watcher.Close()
	r := &runner{Options: o, session: session, base: ctx, pages: map[string]string{}}
	Loop(ctx, watcher.Saves(), r)
	r.logs.Wait()
	if o.Keep {
		report.Info(ctx, "what was deployed stays in the namespace %s", session.namespace)
		return nil
	}
	removing, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), removeLimit,
		delivery.LimitError(fmt.Sprintf("removing took more than %s: `aksflow uninstall` goes on with it", report.Span(removeLimit))))
	defer cancel()
	return session.Remove(removing)
}

// begin checks the request, connects to the cluster, and begins to watch.
func begin(ctx context.Context, o Options, session *Session) (*Watcher, error) {
	d, done, err := o.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	release, err := d.Trial()
	if err != nil {
		return nil, err
	}
	if err := session.begin(ctx, release); err != nil {
		return nil, err
	}
	first := d
	watcher, err := Watch(ctx, func() (dirs []string, skip func(string) bool, err error) {
		of := first
		if first = nil; of == nil {
			var done func()
			if of, done, err = o.Open(ctx); err != nil {
				return nil, nil, err
			}
			defer done()
		}
		if dirs, err = of.Folders(); err == nil {
			skip, err = skipped(of, o.Skip)
		}
		return dirs, skip, err
	})
	if err == nil {
		report.Info(ctx, "the work tree is delivered to the namespace %s at each save, until Ctrl-C", session.namespace)
	}
	return watcher, err
}

// skipped returns which directories are not watched: those that git ignores and that no build sees, and those of skip.
func skipped(d *flow.Delivery, skip []string) (func(dir string) bool, error) {
	root, dockerfile, err := d.Context()
	if err != nil {
		return nil, err
	}
	hidden, err := files.Hidden(root, dockerfile)
	if err != nil {
		return nil, err
	}
	ignored := git.Ignored(root)
	return func(dir string) bool {
		if slices.Contains(skip, dir) {
			return true
		}
		inContext, ok := flow.Below(dir, root)
		return (!ok || inContext != "." && hidden(inContext)) && ignored(dir, true)
	}, nil
}

// runner is the Work of Run.
type runner struct {
	Options
	session *Session
	base    context.Context // of the run

	logs sync.WaitGroup

	mu      sync.Mutex
	reading string            // the workloads whose output is read
	stop    func()            // ends the reading
	pages   map[string]string // the addresses that are forwarded, by Service
}

// Prepare implements Work.
func (r *runner) Prepare(ctx context.Context, save Save) (func(context.Context) error, error) {
	c, err := r.session.Prepare(ctx, r.Open, save.Files)
	if c == nil || err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return r.session.Bring(ctx, c, func(page *cluster.Page) { r.answered(ctx, save, page) })
	}, nil
}

// Failed implements Work.
func (r *runner) Failed(err error) {
	text := strings.TrimRight(err.Error(), "\n")
	if r.session.runs() {
		text += "\nwhat ran before goes on; the next save tries again"
	} else {
		text += "\nthe next save tries again"
	}
	report.Emit(r.base, report.Event{Kind: report.Trouble, Message: text, Err: err})
}

// answered says where the new version answers, and reads what its pods write.
func (r *runner) answered(ctx context.Context, save Save, page *cluster.Page) {
	r.follow()
	after := report.Seconds(time.Since(save.Began)) + " after the save"
	if save.First {
		after = report.Seconds(time.Since(save.Began)) + " after the start"
	}
	if page == nil {
		report.Info(ctx, "it runs, %s", after)
		return
	}
	address, err := r.address(page)
	if err != nil {
		address = err.Error()
	}
	report.Info(ctx, "it answers, %s: %s", after, address)
}

// address returns where this machine reaches a page. It stays the same from one version to the next.
func (r *runner) address(page *cluster.Page) (string, error) {
	if r.Address != nil {
		return r.Address(page.Service, page.Namespace), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.pages[page.Service]; known != "" {
		return known, nil
	}
	at, err := r.session.own.Forward(r.base, page, func(err error) {
		report.Warn(r.base, "a request for the page was not answered: %v", err)
	})
	if err != nil {
		return "", err
	}
	r.pages[page.Service] = "http://" + at + "/"
	return r.pages[page.Service], nil
}

// follow begins to read the output of the workloads, unless it is read already.
func (r *runner) follow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	workloads := r.session.own.Workloads()
	if workloads == r.reading {
		return
	}
	o := kube.LogOptions{Follow: true}
	if r.stop != nil {
		r.stop()
		o.Since = time.Second // the rest was read
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(r.base)
	r.reading = workloads
	r.logs.Go(func() {
		err := r.session.own.Logs(ctx, o, func(l kube.LogLine) {
			report.Emit(ctx, report.Event{Kind: report.AppOutput, Object: shortName(l), Message: l.Text})
		})
		if err != nil && ctx.Err() == nil {
			report.Warn(ctx, "the output of the pods is not shown any more: %v", err)
		}
	})
}

// shortName names a pod without the hash of its template, and its container where that is called otherwise.
func shortName(l kube.LogLine) string {
	parts := strings.Split(l.Pod, "-")
	if n := len(parts); n > 2 && len(parts[n-1]) == 5 && len(parts[n-2]) >= 8 {
		parts = slices.Delete(parts, n-2, n-1)
	}
	name := strings.Join(parts, "-")
	if !strings.HasPrefix(name, l.Container+"-") {
		name += "/" + l.Container
	}
	return name
}
