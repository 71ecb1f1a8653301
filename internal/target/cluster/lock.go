package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// leaseDuration is how long a deploy that was killed keeps others waiting.
	leaseDuration = 20 * time.Second
	leaseRenewal  = 5 * time.Second
	// leaseCheck is how often a waiting deploy looks whether the Lease is free.
	leaseCheck = time.Second
)

// errLeaseLost is the cause of a context whose Lease somebody else has taken.
var errLeaseLost = errors.New("another deploy of this app took over while the API server was out of reach: look at its outcome")

// lock waits until no other deploy of the app is under way. The returned context ends when the lock is lost; release
// gives it up.
func (c *Cluster) lock(ctx context.Context, app, namespace, who string) (_ context.Context, release func(), err error) {
	l := &lease{cluster: c, name: Manager + "-" + app, namespace: namespace, identity: fmt.Sprintf("%s (%s)", who, rand.Text()[:6])}
	told := ""
	for {
		holder, err := l.acquire(ctx)
		if err != nil {
			return nil, nil, explain("Lease/"+l.name, err)
		}
		if holder == "" {
			break
		}
		if holder != told {
			told = holder
			report.Info(ctx, "%s is being deployed by %s: waiting until that is done", app, holder)
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("waiting for %s, which deploys %s (Lease %s/%s): %w", holder, app, namespace, l.name, context.Cause(ctx))
		case <-time.After(leaseCheck):
		}
	}
	held, lose := context.WithCancelCause(ctx)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		l.renew(context.WithoutCancel(ctx), done, lose)
	}()
	return held, func() {
		close(done)
		<-ended
		l.giveUp(context.WithoutCancel(ctx))
		lose(nil)
	}, nil
}

type lease struct {
	cluster                   *Cluster
	name, namespace, identity string

	// What was seen of another holder, and since when by this machine's clock: clocks of two machines are not compared.
	seen      string
	seenSince time.Time
}

// acquire takes the Lease, or says who holds it.
func (l *lease) acquire(ctx context.Context) (holder string, err error) {
	client := l.cluster.client.CoordinationV1().Leases(l.namespace)
	var now *coordinationv1.Lease
	err = l.cluster.request(ctx, func(ctx context.Context) (err error) {
		now, err = client.Get(ctx, l.name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		made := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: l.name, Namespace: l.namespace}, Spec: l.spec()}
		err = l.cluster.request(ctx, func(ctx context.Context) error {
			_, err := client.Create(ctx, made, metav1.CreateOptions{FieldManager: Manager})
			return err
		})
		if apierrors.IsAlreadyExists(err) {
			return l.acquire(ctx) // by another, or by an attempt of ours whose answer was lost
		}
		return "", err
	}
	if err != nil {
		return "", err
	}
	if other := value(now.Spec.HolderIdentity); other != "" && other != l.identity && !l.expired(now) {
		return other, nil
	}
	now.Spec = l.spec()
	err = l.cluster.request(ctx, func(ctx context.Context) error {
		_, err := client.Update(ctx, now, metav1.UpdateOptions{FieldManager: Manager})
		return err
	})
	if apierrors.IsConflict(err) {
		return l.acquire(ctx)
	}
	return "", err
}

// expired says that a Lease has not changed for as long as it is good for.
func (l *lease) expired(now *coordinationv1.Lease) bool {
	if now.ResourceVersion != l.seen {
		l.seen, l.seenSince = now.ResourceVersion, time.Now()
	}
	duration := time.Duration(value(now.Spec.LeaseDurationSeconds)) * time.Second
	if time.Since(l.seenSince) > duration {
		return true
	}
	// Long ago by any clock.
	return now.Spec.RenewTime != nil && time.Since(now.Spec.RenewTime.Time) > duration+time.Minute
}

func (l *lease) spec() coordinationv1.LeaseSpec {
	now, seconds := metav1.NowMicro(), int32(leaseDuration/time.Second)
	return coordinationv1.LeaseSpec{HolderIdentity: &l.identity, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now}
}

// renew keeps the Lease until done. While the API server is away nobody else can take it either.
func (l *lease) renew(ctx context.Context, done <-chan struct{}, lose context.CancelCauseFunc) {
	ticker := time.NewTicker(leaseRenewal)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(ctx, leaseRenewal)
		holder, err := l.acquire(ctx)
		cancel()
		if err == nil && holder != "" {
			lose(errLeaseLost)
			return
		}
	}
}

func (l *lease) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaseRenewal)
	defer cancel()
	client := l.cluster.client.CoordinationV1().Leases(l.namespace)
	now, err := client.Get(ctx, l.name, metav1.GetOptions{})
	if err != nil || value(now.Spec.HolderIdentity) != l.identity {
		return
	}
	now.Spec.HolderIdentity = nil
	// Whoever comes next waits for it to expire when this fails.
	_, _ = client.Update(ctx, now, metav1.UpdateOptions{FieldManager: Manager})
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// whoami is USER@host.
func whoami() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}
