package kube_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/aksflow/aksflow/internal/kube"
)

func TestPodImages(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "wait", Image: "busybox:1"}},
		Containers:     []corev1.Container{{Name: "web", Image: "nginx:1"}},
		Volumes: []corev1.Volume{
			{Name: "site", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "example.com/site:1"}}},
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
	}}
	images := kube.PodImages(pod)
	assert.Equal(t, []kube.PodImage{{Field: "initContainers", Name: "wait", Ref: "busybox:1"}, {Field: "containers", Name: "web", Ref: "nginx:1"}, {Field: "volumes", Name: "site", Ref: "example.com/site:1"}}, images)
	assert.Equal(t, "its container web", images[1].Title())
	assert.Equal(t, "its volume site", images[2].Title())
}
