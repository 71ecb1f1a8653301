package render

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Hook is an object that is applied before or after the others, one hook after the other, and that must finish before
// the deploy goes on.
type Hook struct {
	Object *unstructured.Unstructured
	// Before and After say when: before the other objects are applied, and after they are ready.
	Before, After bool
	// Weight is its place among the hooks of the same moment: the lowest is first.
	Weight int
	// DeleteFirst means that an object of the same name is deleted before the hook is applied; DeleteSucceeded and
	// DeleteFailed, that the object is deleted when the hook has succeeded or failed.
	DeleteFirst, DeleteSucceeded, DeleteFailed bool
}

// The annotations of hooks. Argo CD reads those of Helm, too; where both are there, its own count.
//
//   - https://helm.sh/docs/topics/charts_hooks/
//   - https://argo-cd.readthedocs.io/en/stable/user-guide/sync-waves/
const (
	helmHook         = "helm.sh/hook"
	helmWeight       = "helm.sh/hook-weight"
	helmDeletePolicy = "helm.sh/hook-delete-policy"
	argoHook         = "argocd.argoproj.io/hook"
	argoWave         = "argocd.argoproj.io/sync-wave"
	argoDeletePolicy = "argocd.argoproj.io/hook-delete-policy"
)

// Event is what happens to an app. It decides which hooks run.
type Event string

// The events: the first deploy of an app, a later one, a return to an earlier revision, and its removal.
const (
	Install   Event = "install"
	Upgrade   Event = "upgrade"
	Rollback  Event = "rollback"
	Uninstall Event = "uninstall"
)

// moment is when a hook runs.
type moment struct {
	on     []Event
	before bool // before the other objects are applied, else after they are ready
	plain  bool // as an ordinary object
}

// moments has the hooks that run. All others do not: those of a test and of a failure. Argo CD's PreDelete and PostDelete
// are Helm's pre-delete and post-delete.
var moments = map[string]moment{
	"pre-install":   {on: []Event{Install}, before: true},
	"pre-upgrade":   {on: []Event{Upgrade}, before: true},
	"pre-rollback":  {on: []Event{Rollback}, before: true},
	"post-install":  {on: []Event{Install}},
	"post-upgrade":  {on: []Event{Upgrade}},
	"post-rollback": {on: []Event{Rollback}},
	"pre-delete":    {on: []Event{Uninstall}, before: true},
	"post-delete":   {on: []Event{Uninstall}},
	"predelete":     {on: []Event{Uninstall}, before: true},
	"postdelete":    {on: []Event{Uninstall}},
	"presync":       {on: []Event{Install, Upgrade, Rollback}, before: true},
	"postsync":      {on: []Event{Install, Upgrade, Rollback}},
	"sync":          {plain: true},
}

// otherMoments are words for hooks that no deploy runs, and rightly so.
var otherMoments = []string{"test", "test-success", "test-failure", "crd-install", "syncfail", "skip"}

// warnUnknownHooks reports hooks whose annotation names a moment that there is not, such as one that is misspelt.
func warnUnknownHooks(objects []*unstructured.Unstructured, warn func(format string, args ...any)) {
	for _, o := range objects {
		names, isHook := hookMoments(o)
		if !isHook {
			continue
		}
		for _, name := range names {
			if _, known := moments[name]; !known && !slices.Contains(otherMoments, name) {
				warn("%s/%s is a hook for %q, and there is no such moment: it does not run then", o.GetKind(), o.GetName(), name)
			}
		}
	}
}

// Hooks takes the hooks that run on an event out of objects, in the order in which they run. rest are the objects that
// are no hooks; hooks of other moments are in neither.
func Hooks(objects []*unstructured.Unstructured, event Event) (rest []*unstructured.Unstructured, hooks []Hook) {
	for _, o := range objects {
		names, isHook := hookMoments(o)
		if !isHook {
			rest = append(rest, o)
			continue
		}
		h := hook(o)
		plain := false
		for _, name := range names {
			m := moments[name]
			plain = plain || m.plain
			if slices.Contains(m.on, event) {
				h.Before, h.After = h.Before || m.before, h.After || !m.before
			}
		}
		if h.Before || h.After {
			hooks = append(hooks, h)
		} else if plain {
			rest = append(rest, o)
		}
	}
	// As Helm documents it: by weight, then by kind, then by name.
	slices.SortStableFunc(hooks, func(a, b Hook) int {
		return cmp.Or(cmp.Compare(a.Weight, b.Weight), cmp.Compare(kindOrder(a.Object), kindOrder(b.Object)), strings.Compare(a.Object.GetName(), b.Object.GetName()))
	})
	return rest, hooks
}

// kindOrder puts what a Job or Pod may need before it.
func kindOrder(o *unstructured.Unstructured) int {
	switch o.GetKind() {
	case "Pod", "Job":
		return 1
	}
	return 0
}

// neverRuns reports whether an object is a hook that no event runs, such as a test.
func neverRuns(o *unstructured.Unstructured) bool {
	names, isHook := hookMoments(o)
	return isHook && !slices.ContainsFunc(names, func(name string) bool { _, known := moments[name]; return known })
}

// hookMoments are the moments that the annotations of an object name.
func hookMoments(o *unstructured.Unstructured) (names []string, isHook bool) {
	annotations := o.GetAnnotations()
	value, isHook := annotations[argoHook]
	if !isHook {
		value, isHook = annotations[helmHook]
	}
	return words(value), isHook
}

func hook(o *unstructured.Unstructured) Hook {
	annotations := o.GetAnnotations()
	h := Hook{Object: o}
	// A weight that is no number is 0, as in Helm.
	h.Weight, _ = strconv.Atoi(cmp.Or(annotations[helmWeight], annotations[argoWave]))
	policies := words(cmp.Or(annotations[argoDeletePolicy], annotations[helmDeletePolicy], "before-hook-creation"))
	for _, policy := range policies {
		switch strings.ReplaceAll(policy, "-", "") {
		case "beforehookcreation":
			h.DeleteFirst = true
		case "hooksucceeded":
			h.DeleteSucceeded = true
		case "hookfailed":
			h.DeleteFailed = true
		}
	}
	return h
}

// nameHook names a hook that has only a generateName, which is usual for those of Argo CD. The name is made of the hook's content, so
// that it is the same at the next deploy, which then finds the object.
func nameHook(o *unstructured.Unstructured) {
	_, isHook := hookMoments(o)
	if !isHook || o.GetName() != "" || o.GetGenerateName() == "" {
		return
	}
	content, err := json.Marshal(o.Object) // with sorted keys
	if err != nil {
		return
	}
	sum := sha256.Sum256(content)
	o.SetName(o.GetGenerateName() + hex.EncodeToString(sum[:])[:10])
	o.SetGenerateName("")
}

// words are the parts of an annotation between commas, in lower case.
func words(value string) []string {
	var out []string
	for word := range strings.SplitSeq(value, ",") {
		out = append(out, strings.ToLower(strings.TrimSpace(word)))
	}
	return out
}
