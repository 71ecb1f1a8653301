package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// Until returns when the operator has applied the commit, or a later one, and every pod of every workload with the image
// runs its digest and is ready. It fails at once with the operator's own error, or the reasons of the pods, when that
// cannot happen any more. When ctx ends, its error says what is still missing.
func Until(ctx context.Context, o Options) (*Result, error) {
	if o.Image == "" {
		return nil, fault.Usagef("wait needs the image that the pods must run: REPOSITORY@sha256:…")
	}
	image, err := ref.Parse(o.Image)
	if err != nil {
		return nil, fault.Usage(err)
	}
	o.Branch = git.BranchName(o.Branch)
	o.operatorTimeout = cmp.Or(o.operatorTimeout, operatorTimeout)
	w := &waiter{
		Options: o, image: image, judge: status.NewJudge(), operatorGrace: o.graces().Pull, children: map[watch.Object]operator{},
		accepted: map[string]bool{}, reported: map[string]string{},
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if w.root, w.view, err = open(ctx, o); err != nil {
		return nil, err
	}
	defer w.view.close()
	if err := w.root.request(ctx); err != nil {
		return nil, err
	}
	report.Waitf(ctx, title(w.root), "asked to look at the repository now")
	return w.run(ctx)
}

// open finds the operator's object, through Argo CD's API or the cluster's, and begins to follow it.
func open(ctx context.Context, o Options) (operator, view, error) {
	if o.ArgoCDServer != "" {
		return openArgoServer(ctx, o)
	}
	return openCluster(ctx, o)
}

// FindOperator returns the operator's object that follows the repository, such as "Application argocd/vote".
func FindOperator(ctx context.Context, o Options) (string, error) {
	o.Branch = git.BranchName(o.Branch)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	root, view, err := open(ctx, o)
	if err != nil {
		return "", err
	}
	view.close()
	return title(root), nil
}

// waiter is one run of Until.
type waiter struct {
	Options
	image         ref.Ref
	root          operator
	children      map[watch.Object]operator // by their objects
	view          view
	judge         *status.Judge
	observer      watch.Observer
	operatorGrace time.Duration

	synced   []watch.Object  // operators that were asked for a sync
	accepted map[string]bool // by revision
	lasting  clocks
	reported map[string]string
	missing  []string          // what the last look found missing
	reasons  []delivery.Reason // for what is missing
}

// clocks remember since when problems have been there. A problem that one look does not find is forgotten.
type clocks struct{ began, next map[string]time.Time }

// turn begins a look.
func (c *clocks) turn() { c.began, c.next = c.next, map[string]time.Time{} }

// lasts reports whether a problem has been there for its grace.
func (c *clocks) lasts(problem string, grace time.Duration) bool {
	began, known := c.began[problem]
	if !known {
		began = time.Now()
	}
	c.next[problem] = began
	return time.Since(began) >= grace
}

// settleDelay is how long changes are gathered before they are looked at, since they come many at a time.
const settleDelay = 25 * time.Millisecond

// run looks at everything after each change, and once a second, since the end of a grace is no change.
func (w *waiter) run(ctx context.Context) (*Result, error) {
	pulse := time.NewTicker(time.Second)
	defer pulse.Stop()
	for {
		result, err := w.look(ctx)
		if ctx.Err() == nil && (result != nil || err != nil) {
			return result, err
		}
		select {
		case <-ctx.Done():
			return nil, w.ended(ctx)
		case <-w.view.changed():
			select {
			case <-ctx.Done():
			case <-time.After(settleDelay):
			}
		case <-pulse.C:
			if err := w.view.check(ctx); err != nil && ctx.Err() == nil {
				return nil, err
			}
		}
	}
}

// ended is the error for a context that ended: it says what was missing.
func (w *waiter) ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	err := fmt.Errorf("%s does not run %s in time (%w): %s", title(w.root), cmp.Or(w.image.Digest, w.Image), context.Cause(ctx), strings.Join(w.missing, "; "))
	return delivery.WithReasons(err, w.reasons)
}

// state is what one look finds, over all operators.
type state struct {
	applied   bool
	revision  string
	workloads []watch.Object
}

// look returns the result when all is done, an error when it cannot be any more, and neither as long as it may.
func (w *waiter) look(ctx context.Context) (*Result, error) {
	w.lasting.turn()
	w.missing, w.reasons = nil, nil
	s := state{applied: true}
	if err := w.lookAt(ctx, w.root, &s); err != nil {
		return nil, err
	}
	if len(s.workloads) == 0 && !s.applied {
		return nil, nil
	}
	objects, err := w.lookAtWorkloads(ctx, s)
	if err != nil || !s.applied || len(objects) == 0 {
		return nil, err
	}
	for _, o := range objects {
		if !o.Ready {
			return nil, nil
		}
	}
	return &Result{Operator: w.root.kind(), Name: nameOf(w.root), Revision: s.revision, Objects: objects}, nil
}

// lookAt judges an operator and those whose objects it has applied.
func (w *waiter) lookAt(ctx context.Context, o operator, s *state) error {
	v := o.judge(w.view, func(revision string) bool { return w.accepts(ctx, revision) })
	w.tell(ctx, title(o), v.message)
	if o == w.root || s.revision == "" { // an ApplicationSet has none
		s.revision = v.revision
	}
	if !v.applied {
		s.applied = false
		w.miss(title(o), "", v.message)
	}
	if v.tryAgain && w.Sync && !slices.Contains(w.synced, o.self()) {
		w.tell(ctx, title(o), "asked to sync it again")
		return w.syncNow(ctx, o, v.revision)
	}
	if v.err != nil {
		if v.tryAgain && !w.Sync {
			v.err = fmt.Errorf("%w; Argo CD does not sync this revision again by itself: when the cause is gone, sync it in Argo CD, or pass --sync", v.err)
		}
		if !v.heals || w.lasting.lasts(title(o)+v.err.Error(), w.operatorGrace) {
			err := fmt.Errorf("%s: %w", title(o), v.err)
			return delivery.WithReasons(err, []delivery.Reason{{Object: title(o), Reason: v.message, Message: v.err.Error()}})
		}
		w.miss(title(o), v.message, v.err.Error())
		s.applied = false
		return nil
	}
	if v.wantsSync {
		s.applied = false
		return w.syncNow(ctx, o, v.revision)
	}
	if err := w.view.follow(ctx, o, v.workloads); err != nil {
		return err
	}
	s.workloads = append(s.workloads, v.workloads...)
	for _, child := range v.children {
		if err := w.lookAtChild(ctx, child, v.applied, s); err != nil {
			return err
		}
	}
	return nil
}

// lookAtChild judges an operator whose object another one has applied. It is asked to look once its parent is done.
func (w *waiter) lookAtChild(ctx context.Context, o watch.Object, applied bool, s *state) error {
	child := w.children[o]
	if child == nil {
		if !applied {
			return nil
		}
		var err error
		if child, err = w.view.operator(ctx, o); err != nil {
			return err
		}
		if err := w.view.followOperator(ctx, child); err != nil {
			return err
		}
		if err := child.request(ctx); err != nil {
			return err
		}
		w.children[o] = child
	}
	return w.lookAt(ctx, child, s)
}

func (w *waiter) syncNow(ctx context.Context, o operator, revision string) error {
	if !w.Sync {
		return fmt.Errorf("%s is not synced automatically: sync it in Argo CD, or pass --sync", title(o))
	}
	if slices.Contains(w.synced, o.self()) {
		return nil
	}
	w.synced = append(w.synced, o.self())
	return o.sync(ctx, revision)
}

// accepts reports whether a revision is the commit or has it in its history.
func (w *waiter) accepts(ctx context.Context, revision string) bool {
	if revision == "" {
		return false
	}
	if w.Commit == "" || strings.HasPrefix(revision, w.Commit) {
		return true
	}
	known, found := w.accepted[revision]
	if found {
		return known
	}
	accepted := true // without an answer, the digest of the pods decides
	if w.Contains != nil {
		contains, err := w.Contains(ctx, revision, w.Commit)
		if err != nil {
			report.Warn(ctx, "cannot find out whether revision %.10s contains commit %.10s (%v): the digest of the pods decides", revision, w.Commit, err)
		}
		accepted = contains || err != nil
	}
	w.accepted[revision] = accepted
	return accepted
}

// tell reports a message about an object once.
func (w *waiter) tell(ctx context.Context, object, message string) {
	if message != "" && w.reported[object] != message {
		w.reported[object] = message
		report.Waitf(ctx, object, "%s", message)
	}
}

// miss records what is missing, for the error of a wait whose time is up.
func (w *waiter) miss(object, reason, message string) {
	w.missing = append(w.missing, object+": "+message)
	w.reasons = append(w.reasons, delivery.Reason{Object: object, Reason: reason, Message: message})
}
