package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// LogOptions say which lines of containers' output are read.
type LogOptions struct {
	// Follow goes on with what pods write from now on, those that are made later included, until the context ends.
	Follow bool
	// Tail is how many of the last lines of each container are read first; 0 means all.
	Tail int64
	// Since is how far back lines are read; 0 means no limit.
	Since time.Duration
	// Container is the name of the containers that are read; "" means all.
	Container string
	// Previous reads the run before a container's last restart.
	Previous bool
}

// LogLine is a line that a container wrote.
type LogLine struct {
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Text      string `json:"text"`
}

// Logs reads the output of the pods that workloads select, and passes on each line; emit is called by one goroutine at a
// time. It returns the number of containers that were read.
func (c *Cluster) Logs(ctx context.Context, workloads []*unstructured.Unstructured, o LogOptions, emit func(LogLine)) (int, error) {
	l := &logReader{cluster: c, options: o, emit: emit, begun: map[string]bool{}}
	ctx, stop := context.WithCancel(ctx)
	defer l.reading.Wait()
	defer func() {
		if !o.Follow {
			l.reading.Wait()
		}
		stop()
	}()
	var watched sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	for _, w := range workloads {
		selector, err := podSelector(w)
		if err != nil || selector == "" {
			return 0, err
		}
		watched.Go(func() {
			err := l.workload(ctx, w.GetNamespace(), selector)
			if err != nil && ctx.Err() == nil {
				mu.Lock()
				failures = append(failures, Explain("the pods of "+w.GetKind()+"/"+w.GetName(), err))
				mu.Unlock()
			}
		})
	}
	watched.Wait()
	return l.count(), errors.Join(failures...)
}

// podSelector is how a workload selects its pods; that of a Job is the label that its controller sets.
func podSelector(w *unstructured.Unstructured) (string, error) {
	if w.GetKind() == "Job" {
		return "batch.kubernetes.io/job-name=" + w.GetName(), nil
	}
	return selectorOf(w)
}

type logReader struct {
	cluster *Cluster
	options LogOptions
	emit    func(LogLine)

	mu      sync.Mutex
	begun   map[string]bool // one run of a container
	reading sync.WaitGroup
	writing sync.Mutex
}

func (l *logReader) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.begun)
}

// workload reads the pods of a selector, and with Follow those that come.
func (l *logReader) workload(ctx context.Context, namespace, selector string) error {
	pods := l.cluster.core.Pods(namespace)
	for {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		for i := range list.Items {
			l.pod(ctx, &list.Items[i])
		}
		if !l.options.Follow {
			return nil
		}
		changes, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: list.ResourceVersion})
		if err != nil {
			return err
		}
		for event := range changes.ResultChan() { // it is closed at times, and then begun again
			if pod, ok := event.Object.(*corev1.Pod); ok {
				l.pod(ctx, pod)
			}
		}
		changes.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// pod begins to read the containers of a pod that have started and are not read yet.
func (l *logReader) pod(ctx context.Context, pod *corev1.Pod) {
	statuses := append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...)
	for _, s := range statuses {
		if l.options.Container != "" && s.Name != l.options.Container || s.State.Running == nil && s.State.Terminated == nil && !l.options.Previous {
			continue
		}
		run := fmt.Sprintf("%s/%s/%d", types.UID(pod.UID), s.Name, s.RestartCount)
		l.mu.Lock()
		known := l.begun[run]
		l.begun[run] = true
		l.mu.Unlock()
		if known {
			continue
		}
		l.reading.Go(func() { l.container(ctx, pod.Namespace, pod.Name, s.Name) })
	}
}

// container passes on the lines of one container. What cannot be read any more ends it.
func (l *logReader) container(ctx context.Context, namespace, pod, name string) {
	o := &corev1.PodLogOptions{Container: name, Follow: l.options.Follow, Previous: l.options.Previous}
	if l.options.Tail > 0 {
		o.TailLines = &l.options.Tail
	}
	if l.options.Since > 0 {
		seconds := int64(l.options.Since.Seconds())
		o.SinceSeconds = &seconds
	}
	stream, err := l.cluster.core.Pods(namespace).GetLogs(pod, o).Stream(ctx)
	if err != nil {
		l.pass(LogLine{pod, name, "its output cannot be read: " + Explain("", err).Error()})
		return
	}
	defer func() { _ = stream.Close() }()
	reader := bufio.NewReader(stream)
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			l.pass(LogLine{pod, name, strings.TrimRight(line, "\r\n")})
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				l.pass(LogLine{pod, name, "its output cannot be read further: " + err.Error()})
			}
			return
		}
	}
}

func (l *logReader) pass(line LogLine) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.emit(line)
}
