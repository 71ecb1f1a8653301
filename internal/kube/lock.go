package kube

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// leaseDuration is how long nobody may have renewed a Lease before another process takes it. With leaseRetry, a lock
	// whose holder was killed is free after less than 20 s.
	leaseDuration = 16 * time.Second
	// leaseRetry is how often a holder renews the Lease. Whoever waits looks at it after once to twice as long.
	leaseRetry = time.Second
	// leaseRelease is how long giving the Lease up may take. If it fails, the Lease expires.
	leaseRelease = 5 * time.Second
)

// ErrLockLost is the cause of the context that [Cluster.Lock] returns, after another process has taken the lock.
var ErrLockLost = errors.New("another deploy of this app took over while the API server was out of reach: look at its outcome")

// errLockStale is returned by a write while it is not certain that the lock is still held. The write is tried again.
var errLockStale = errors.New("the lock must be renewed first")

// Lock waits until no other process holds the lock of an app, which is a Lease. who names this process for others. The
// returned context ends with [ErrLockLost] when the lock is lost; writes through it, or through a context made from it,
// are refused from then on. unlock gives the lock up.
func (c *Cluster) Lock(ctx context.Context, app, namespace, who string) (held context.Context, unlock func(), err error) {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	held, lose := context.WithCancelCause(ctx)
	l := &lock{
		cluster: c, app: app, stop: stop, lose: lose, acquired: make(chan struct{}),
		LeaseLock: resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: Manager + "-" + app, Namespace: namespace},
			Client:     c.leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: fmt.Sprintf("%s (%s)", who, rand.Text()[:6])},
		},
	}
	ended := make(chan struct{})
	go func() { defer close(ended); l.hold(run) }()
	unlock = func() {
		l.release()
		<-ended
		lose(nil)
	}
	select {
	case <-l.acquired:
		return context.WithValue(held, lockKey{}, l), unlock, nil
	case <-ended: // cannot be acquired
		lose(nil)
		return nil, nil, Explain("Lease/"+l.LeaseMeta.Name, l.refusal())
	case <-ctx.Done():
		unlock()
		if holder := l.currentHolder(); holder != "" {
			return nil, nil, fmt.Errorf("waiting for %s, which deploys %s (Lease %s/%s): %w", holder, app, namespace, l.LeaseMeta.Name, context.Cause(ctx))
		}
		return nil, nil, context.Cause(ctx)
	}
}

// DeleteLock deletes the Lease of an app that is gone, unless another process holds it by now.
func (c *Cluster) DeleteLock(ctx context.Context, app, namespace string) error {
	name := Manager + "-" + app
	var lease *coordinationv1.Lease
	err := c.Retry(ctx, func(ctx context.Context) (err error) {
		lease, err = c.leases.Leases(namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if err == nil && (lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "") {
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &lease.ResourceVersion}}
		err = c.Retry(ctx, func(ctx context.Context) error { return c.leases.Leases(namespace).Delete(ctx, name, options) })
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return Explain("Lease/"+name, err)
}

type lockKey struct{}

// checkLock returns an error unless the lock that ctx holds, if any, is certain to be held.
func checkLock(ctx context.Context) error {
	l, ok := ctx.Value(lockKey{}).(*lock)
	if !ok {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.lost:
		return ErrLockLost
	case time.Since(l.renewed) > leaseDuration:
		return errLockStale
	}
	return nil
}

// lock is a Lease and what is known of it. The algorithm is that of client-go's leaderelection: whoever waits measures by
// its own clock how long a Lease has not changed, so that clocks need not agree. That package itself is not used, since it
// imports the typed clientset and all informers; it also gives up a Lease that it could not renew for a while, and this
// lock must outlast an outage of the API server: while nobody reaches it, nobody else can take the Lease either.
type lock struct {
	resourcelock.LeaseLock
	cluster  *Cluster
	app      string
	stop     func()
	lose     context.CancelCauseFunc
	acquired chan struct{}

	mu        sync.Mutex
	held      bool
	renewed   time.Time // when the last successful write of the Lease began
	lost      bool
	releasing bool
	holder    string // another process
	refused   error  // why the Lease cannot be had

	// What the Lease said when it was read last, and since when it has said so. Only hold uses these.
	observed      *resourcelock.LeaderElectionRecord
	observedRaw   []byte
	observedSince time.Time
	announced     bool // acquired is closed
}

// hold acquires the Lease and renews it until ctx ends, and gives it up then.
func (l *lock) hold(ctx context.Context) {
	for ctx.Err() == nil {
		pause := leaseRetry
		if !l.acquireOrRenew(ctx) && !l.isHeld() {
			pause = wait.Jitter(leaseRetry, 1) // so that those who wait do not all ask at once
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	if l.isHeld() {
		l.giveUp(context.WithoutCancel(ctx))
	}
}

// acquireOrRenew reports whether it has written to the Lease that this process holds it.
func (l *lock) acquireOrRenew(ctx context.Context) bool {
	now := metav1.Now()
	record := resourcelock.LeaderElectionRecord{
		HolderIdentity: l.Identity(), LeaseDurationSeconds: int(leaseDuration / time.Second), AcquireTime: now, RenewTime: now,
	}
	if l.isHeld() {
		// The Lease is most likely as this process wrote it. If it is not, the update is a conflict.
		record.AcquireTime, record.LeaderTransitions = l.observed.AcquireTime, l.observed.LeaderTransitions
		if l.Update(ctx, record) == nil {
			return true
		}
	}
	current, raw, err := l.Get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		err = l.Create(ctx, record)
	case err != nil:
		return false
	default:
		if !bytes.Equal(raw, l.observedRaw) {
			l.observed, l.observedRaw, l.observedSince = current, raw, time.Now()
		}
		mine := current.HolderIdentity == l.Identity()
		valid := time.Since(l.observedSince) < time.Duration(current.LeaseDurationSeconds)*time.Second
		if !mine && current.HolderIdentity != "" && valid {
			return false
		}
		if record.LeaderTransitions = current.LeaderTransitions + 1; mine {
			record.AcquireTime, record.LeaderTransitions = current.AcquireTime, current.LeaderTransitions
		}
		err = l.Update(ctx, record)
	}
	if err != nil {
		return false
	}
	if l.observed = &record; !l.announced {
		l.announced = true
		close(l.acquired)
	}
	return true
}

// giveUp empties the Lease, so that others need not wait until it expires. A renewal that was interrupted may have
// reached the API server all the same: the Lease is read again first.
func (l *lock) giveUp(ctx context.Context) {
	for range 3 {
		current, _, err := l.Get(ctx)
		if err != nil || current.HolderIdentity != l.Identity() {
			return
		}
		now := metav1.Now()
		if err := l.Update(ctx, resourcelock.LeaderElectionRecord{
			LeaderTransitions: current.LeaderTransitions, LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now,
		}); !apierrors.IsConflict(err) {
			return
		}
	}
}

func (l *lock) isHeld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held && !l.lost
}

// Get implements resourcelock.Interface.
func (l *lock) Get(ctx context.Context) (record *resourcelock.LeaderElectionRecord, raw []byte, err error) {
	err = l.request(ctx, func(ctx context.Context) error {
		record, raw, err = l.LeaseLock.Get(ctx)
		return err
	})
	if err != nil {
		return nil, nil, l.note(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch other := record.HolderIdentity; {
	case other == l.Identity():
	case l.held && !l.lost:
		l.lost = true
		l.lose(ErrLockLost)
		l.stop()
	case !l.held && other != "" && other != l.holder:
		l.holder = other
		report.Info(ctx, "%s is being deployed by %s: waiting until that is done", l.app, other)
	}
	return record, raw, nil
}

// Create implements resourcelock.Interface.
func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.LeaseLock.Create)
}

// Update implements resourcelock.Interface.
func (l *lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.LeaseLock.Update)
}

func (l *lock) write(ctx context.Context, record resourcelock.LeaderElectionRecord, do func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if lost {
		return ErrLockLost
	}
	var began time.Time
	err := l.request(ctx, func(ctx context.Context) error {
		began = time.Now()
		return do(ctx, record)
	})
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		_, _, _ = l.Get(ctx) // to learn at once who was faster
	}
	if err != nil {
		return l.note(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.renewed = record.HolderIdentity != "", began
	return nil
}

// request retries do, but not while the Lease is given up, which must not take long.
func (l *lock) request(ctx context.Context, do func(context.Context) error) error {
	l.mu.Lock()
	releasing := l.releasing
	l.mu.Unlock()
	if releasing {
		ctx, cancel := context.WithTimeout(ctx, leaseRelease)
		defer cancel()
		return do(ctx)
	}
	return l.cluster.Retry(ctx, do)
}

// note ends the wait for the Lease when the API server refuses it. Without that, hold would try for ever.
func (l *lock) note(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !l.held && !l.releasing || isNoNamespace(err) {
		l.refused = err
		l.stop()
	}
	return err
}

// isNoNamespace reports whether a create failed because the namespace does not exist.
func isNoNamespace(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

func (l *lock) release() {
	l.mu.Lock()
	l.releasing = true
	l.mu.Unlock()
	l.stop()
}

func (l *lock) refusal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

func (l *lock) currentHolder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}
