package plan

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// WaveAnnotation is aksflow's own annotation for the order of objects: a whole number, 0 by default. The objects of one
// wave are ready before those of a higher one are applied. It takes precedence over that of Argo CD.
const WaveAnnotation = "order.aksflow.dev/wave"

// argoWave is Argo CD's annotation of the same meaning: https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/
const argoWave = "argocd.argoproj.io/sync-wave"

// WaveOf reads the wave of an object, a place in the order above its stage, from its annotations. An error names the
// annotation whose value is not a number.
func WaveOf(o *unstructured.Unstructured) (int, error) {
	annotations := o.GetAnnotations()
	for _, key := range []string{WaveAnnotation, argoWave} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		wave, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return 0, fmt.Errorf("its annotation %s is %q: want a whole number", key, text)
		}
		return wave, nil
	}
	return 0, nil
}
