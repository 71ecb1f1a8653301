package wait

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// probed makes a Deployment of two pods whose readiness probe may fail for 3 s.
func (b *testbed) probed(name, image string) {
	b.deployWith(name, image, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}},
			PeriodSeconds: 1, FailureThreshold: 3,
		}
	})
}

// set changes the status of a pod, as the kubelet does.
func (b *testbed) set(name string, how func(*corev1.Pod)) {
	pods := b.client.CoreV1().Pods(b.namespace)
	assert.EventuallyWithT(b.t, func(c *assert.CollectT) {
		ctx := context.WithoutCancel(b.t.Context()) // the test may end while the answer is on its way
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if !assert.NoError(c, err) {
			return
		}
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning}
		how(pod)
		_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		assert.NoError(c, err)
	}, 5*time.Second, 50*time.Millisecond)
}

// podsOf waits until an app has count pods, and returns their names.
func (b *testbed) podsOf(app string, count int) []string {
	var names []string
	require.Eventually(b.t, func() bool {
		list, err := b.client.CoreV1().Pods(b.namespace).List(b.t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil || len(list.Items) != count {
			return false
		}
		for _, pod := range list.Items {
			names = append(names, pod.Name)
		}
		return true
	}, 10*time.Second, 50*time.Millisecond)
	return names
}

// unready is a pod that runs and whose probe fails.
func unready(pod *corev1.Pod) {
	now := metav1.Now()
	started := false
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.ContainersReady, Status: corev1.ConditionFalse, LastTransitionTime: now}, {Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: now},
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", Image: pod.Spec.Containers[0].Image, Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}}
}

// creating is a pod whose container is being made.
func creating(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodPending
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", Image: pod.Spec.Containers[0].Image, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
	}}
}

// crashing is a pod whose container has crashed once.
func crashing(pod *corev1.Pod) {
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", Image: pod.Spec.Containers[0].Image, RestartCount: 1,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.Now()}},
	}}
}

// A rolling update whose pods are slow one after the other, each within what its probe allows, is healthy.
func TestEachPodIsJudgedByItsOwnClock(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	b.application("vote", true)
	b.probed("vote", voteImage(1))
	pods := b.podsOf("vote", 2)
	b.set(pods[0], unready)
	b.set(pods[1], creating)
	b.answer("vote", b.synced(commitA, "vote"))
	b.background.Go(func() {
		time.Sleep(2 * time.Second)
		b.set(pods[0], running)
		b.set(pods[1], unready)
		time.Sleep(2 * time.Second)
		b.set(pods[1], running)
	})
	_, err := b.wait(b.options(), 30*time.Second)
	require.NoError(t, err)
}

// A crash may wait for another workload that the operator applied beside it.
func TestACrashMayWaitForAnotherWorkload(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	b.application("vote", true)
	b.deploy("vote", voteImage(1))
	b.deploy("redis", "redis:8")
	for _, pod := range b.podsOf("redis", 2) {
		b.set(pod, creating)
	}
	for _, pod := range b.podsOf("vote", 2) {
		b.set(pod, crashing)
	}
	b.answer("vote", b.synced(commitA, "vote", "redis"))
	b.background.Go(func() {
		time.Sleep(3 * time.Second)
		for _, pod := range b.podsOf("redis", 2) {
			b.set(pod, running)
		}
		for _, pod := range b.podsOf("vote", 2) {
			b.set(pod, running)
		}
	})
	o := b.options()
	o.Grace = time.Second
	_, err := b.wait(o, 30*time.Second)
	require.NoError(t, err)
}

// unhealthy writes what the kubelet says about a probe that cannot work.
func (b *testbed) unhealthy(name, pod string, at time.Time, change func(*corev1.Event)) {
	p, err := b.client.CoreV1().Pods(b.namespace).Get(b.t.Context(), pod, metav1.GetOptions{})
	require.NoError(b.t, err)
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: b.namespace, Name: pod, UID: p.UID, FieldPath: "spec.containers{app}"},
		Reason:         "Unhealthy", Message: "Readiness probe failed: exec: true: executable file not found in $PATH", Type: "Warning",
		FirstTimestamp: metav1.NewTime(at), LastTimestamp: metav1.NewTime(at), Count: 1,
	}
	change(event)
	_, err = b.client.CoreV1().Events(b.namespace).Create(b.t.Context(), event, metav1.CreateOptions{})
	require.NoError(b.t, err)
}

// The clocks of two machines differ. Which event is new is told by the order in which the API server got them.
func TestEventsCountWhateverTheirClock(t *testing.T) {
	t.Parallel()
	t.Run("a new one from a clock that is behind, in a series", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.probed("vote", voteImage(1))
		pods := b.podsOf("vote", 2)
		b.set(pods[0], running)
		b.set(pods[1], unready)
		early := time.Now().Add(-time.Hour)
		b.when(applications, "vote", refreshAsked, func(*unstructured.Unstructured) {
			b.unhealthy("new", pods[1], time.Time{}, func(e *corev1.Event) {
				e.EventTime, e.FirstTimestamp, e.LastTimestamp = metav1.NewMicroTime(early), metav1.Time{}, metav1.Time{}
				e.Series = &corev1.EventSeries{Count: 2, LastObservedTime: metav1.NewMicroTime(early)}
				e.ReportingController, e.ReportingInstance, e.Action = "kubelet", "node", "Probing"
			})
			b.patch(applications, "vote", map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{refreshAnnotation: nil}}, "status": b.synced(commitA, "vote"),
			})
		})
		o := b.options()
		o.Grace = 10 * time.Second
		_, err := b.wait(o, 30*time.Second)
		require.ErrorContains(t, err, "executable file not found")
	})
	t.Run("an old one from a clock that is ahead", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.patch(applications, "vote", map[string]any{"status": b.synced(commitB, "vote")})
		b.probed("vote", voteImage(1))
		pods := b.podsOf("vote", 2)
		b.set(pods[0], running)
		b.set(pods[1], unready)
		b.unhealthy("old", pods[1], time.Now().Add(time.Hour), func(*corev1.Event) {})
		b.when(applications, "vote", refreshAsked, func(*unstructured.Unstructured) {
			b.patch(applications, "vote", map[string]any{
				"metadata": map[string]any{"annotations": map[string]any{refreshAnnotation: nil}}, "status": b.synced(commitA, "vote"),
			})
			time.Sleep(time.Second)
			b.set(pods[1], running)
		})
		_, err := b.wait(b.options(), 30*time.Second)
		require.NoError(t, err)
	})
}

// flakyServer is the API server behind a proxy that can be taken away, and that adds a warning to each answer.
type flakyServer struct {
	mu   sync.Mutex
	mode string // "": answers; "gone": cuts connections; "starting": refuses everything
	cut  context.CancelFunc
	ctx  context.Context
}

func (f *flakyServer) set(mode string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode = mode
	f.cut()
	f.ctx, f.cut = context.WithCancel(context.Background())
}

// flaky returns a kubeconfig for a flakyServer.
func (b *testbed) flaky() (*flakyServer, string) {
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	require.NoError(b.t, err)
	transport, err := rest.TransportFor(config)
	require.NoError(b.t, err)
	target, err := url.Parse(config.Host)
	require.NoError(b.t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport, proxy.FlushInterval = transport, -1
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	f := &flakyServer{}
	f.ctx, f.cut = context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		mode, ctx := f.mode, f.ctx
		f.mu.Unlock()
		switch mode {
		case "gone":
			panic(http.ErrAbortHandler)
		case "starting":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
				Message: `pods is forbidden: User "x" cannot list resource "pods" in API group ""`,
			})
			return
		}
		w.Header().Add("Warning", `299 - "this API version is deprecated"`)
		request, done := context.WithCancel(r.Context())
		defer done()
		defer context.AfterFunc(ctx, done)()
		proxy.ServeHTTP(w, r.WithContext(request))
	}))
	b.t.Cleanup(server.Close)
	file := b.t.TempDir() + "/kubeconfig"
	require.NoError(b.t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {Server: server.URL}}, AuthInfos: map[string]*clientcmdapi.AuthInfo{"u": {}},
		Contexts: map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x",
	}, file))
	return f, file
}

// An API server that goes away, and refuses what it allows later while it starts, ends no wait. Its warnings are shown once.
func TestAnAPIServerThatIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	server, kubeconfig := b.flaky()
	b.application("vote", true)
	b.deploy("vote", voteImage(1))
	pods := b.podsOf("vote", 2)
	b.set(pods[0], running)
	b.set(pods[1], creating)
	b.answer("vote", b.synced(commitA, "vote"))
	b.background.Go(func() {
		time.Sleep(2 * time.Second)
		server.set("gone")
		time.Sleep(2 * time.Second)
		server.set("starting")
		time.Sleep(3 * time.Second)
		server.set("")
		b.set(pods[1], running)
	})
	var mu sync.Mutex
	var warnings []string
	ctx := report.With(t.Context(), report.SinkFunc(func(e report.Event) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, e.Message)
	}))
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	o := b.options()
	o.Kubeconfig = kubeconfig
	result, err := Until(ctx, o)
	require.NoError(t, err)
	assert.Equal(t, "2 of 2 pods run "+gittest.Digest(1), result.Objects[0].Message)
	all := strings.Join(warnings, "\n")
	assert.Equal(t, 1, strings.Count(all, "this API version is deprecated"), all)
	assert.NotContains(t, all, "without events")
}

// A grace bounds how long a crash is watched, which is a minute by default.
func TestGraceOfAWait(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	b.application("vote", true)
	b.deploy("vote", voteImage(1))
	for _, pod := range b.podsOf("vote", 2) {
		b.set(pod, func(pod *corev1.Pod) {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "app", Image: pod.Spec.Containers[0].Image, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, FinishedAt: metav1.Now()}},
			}}
		})
	}
	b.answer("vote", b.synced(commitA, "vote"))
	o := b.options()
	o.Grace = 3 * time.Second
	began := time.Now()
	_, err := b.wait(o, 45*time.Second)
	require.ErrorContains(t, err, "Deployment/"+b.namespace+"/vote: container app of pod vote-")
	assert.GreaterOrEqual(t, time.Since(began), o.Grace)
}
