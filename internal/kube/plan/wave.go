package plan

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// WaveAnnotation is aksflow's own annotation for the order of objects: a whole number, 0 by default. The objects of one
// wave are ready before those of a higher one are applied. It takes precedence over those of Argo CD.
const WaveAnnotation = "order.aksflow.dev/wave"

// Annotations of Argo CD that order objects: https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/
const (
	argoWave = "argocd.argoproj.io/sync-wave"
	argoHook = "argocd.argoproj.io/hook"
)

// Wave is a place in the order in which objects are applied, above their stages.
type Wave struct {
	// Phase is -1 for what Argo CD runs before a release (PreSync), 1 for what it runs after it (PostSync).
	Phase int
	// Number orders within a phase.
	Number int
}

// Compare orders waves.
func (w Wave) Compare(other Wave) int {
	return cmp.Or(cmp.Compare(w.Phase, other.Phase), cmp.Compare(w.Number, other.Number))
}

// WaveOf reads the wave of an object from its annotations. An error names the annotation whose value is not a number.
func WaveOf(o *unstructured.Unstructured) (Wave, error) {
	annotations := o.GetAnnotations()
	if _, ok := annotations[WaveAnnotation]; ok {
		number, err := wholeNumber(annotations, WaveAnnotation)
		return Wave{Number: number}, err
	}
	if hooks, ok := annotations[argoHook]; ok {
		number, err := wholeNumber(annotations, argoWave)
		return Wave{Phase: phaseOf(hooks), Number: number}, err
	}
	if _, ok := annotations[argoWave]; ok {
		number, err := wholeNumber(annotations, argoWave)
		return Wave{Number: number}, err
	}
	return Wave{}, nil
}

// phaseOf returns the phase of a list of hooks, separated by commas. One that runs at several moments runs at the first.
func phaseOf(hooks string) int {
	phase := 0
	for _, hook := range strings.Split(hooks, ",") {
		switch strings.TrimSpace(hook) {
		case "PreSync":
			return -1
		case "PostSync":
			phase = 1
		}
	}
	return phase
}

func wholeNumber(annotations map[string]string, key string) (int, error) {
	text, ok := annotations[key]
	if !ok {
		return 0, nil
	}
	number, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("its annotation %s is %q: want a whole number", key, text)
	}
	return number, nil
}
