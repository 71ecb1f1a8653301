//go:build linux

package server

import (
	"context"
	"encoding/json"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// provisioner is the name that the storage class in cluster.yaml has.
const provisioner = "aksflow.dev/directory"

// provisionVolumes makes a directory of the node for each claim that waits for a volume, and removes it when the claim is
// deleted, as long as the platform runs.
func (s *supervisor) provisionVolumes(context.Context) error {
	a, err := s.api()
	if err != nil {
		return err
	}
	ctx := context.Background() // not the context of the start, which ends earlier
	go a.watch("/api/v1/persistentvolumeclaims", func(change string, object json.RawMessage) error {
		var claim corev1.PersistentVolumeClaim
		if err := json.Unmarshal(object, &claim); err != nil {
			return err
		}
		// The scheduler sets the node when a pod uses the claim.
		if change == "DELETED" || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil ||
			claim.Annotations["volume.kubernetes.io/storage-provisioner"] != provisioner ||
			claim.Annotations["volume.kubernetes.io/selected-node"] == "" {
			return nil
		}
		return s.provision(ctx, a, &claim)
	})
	go a.watch("/api/v1/persistentvolumes", func(change string, object json.RawMessage) error {
		var volume corev1.PersistentVolume
		if err := json.Unmarshal(object, &volume); err != nil {
			return err
		}
		if change == "DELETED" || volume.Status.Phase != corev1.VolumeReleased || volume.Spec.Local == nil ||
			volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner {
			return nil
		}
		if err := os.RemoveAll(s.volume(volume.Name)); err != nil {
			return err
		}
		resp, err := a.do(ctx, "DELETE", "/api/v1/persistentvolumes/"+volume.Name, "", nil)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return nil
}

func (s *supervisor) volume(name string) string { return s.State.run("volumes", name) }

// provision makes a volume for a claim. Its type is local, because the kubelet applies fsGroup to it, unlike hostPath.
func (s *supervisor) provision(ctx context.Context, a *api, claim *corev1.PersistentVolumeClaim) error {
	name := "pvc-" + string(claim.UID)
	if err := os.MkdirAll(s.volume(name), 0o755); err != nil {
		return err
	}
	volume, err := json.Marshal(&corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			AccessModes:                   claim.Spec.AccessModes,
			StorageClassName:              *claim.Spec.StorageClassName,
			Capacity: corev1.ResourceList{
				corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage],
			},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: s.volume(name)}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{nodeName},
				}}}},
			}},
		},
	})
	if err != nil {
		return err
	}
	return a.post(ctx, "/api/v1/persistentvolumes", volume)
}
