package plan

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// formerManagers are the field managers of tools that aksflow replaces: kubectl apply, in its older forms too, and Helm.
// "kubectl" counts with server-side apply only: it is also the manager of kubectl scale, by which a person changes a field.
var formerManagers = []string{"kubectl-client-side-apply", "kubectl", "before-first-apply", "helm", "Helm"}

// defaultsManager owns, for the length of one adoption, fields that nobody owns.
const defaultsManager = "aksflow-defaults"

func isFormer(entry metav1.ManagedFieldsEntry) bool {
	if entry.Subresource != "" || !slices.Contains(formerManagers, entry.Manager) {
		return false
	}
	return entry.Operation == metav1.ManagedFieldsOperationApply || entry.Manager != "kubectl"
}

// IsApplied reports whether manager has applied live before.
func IsApplied(live *unstructured.Unstructured, manager string) bool {
	return slices.ContainsFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return isApply(entry, manager) })
}

// Adopt returns a copy of live in which manager owns what kubectl apply or Helm owned, so that the next apply removes what
// is not in the manifest any more. It also owns the fields in extra, which nobody owns. Adopt returns nil when there is
// nothing to adopt. Only managedFields differ.
func Adopt(live *unstructured.Unstructured, manager string, extra *fieldpath.Set) (*unstructured.Unstructured, error) {
	names := sets.New[string]()
	entries := slices.Clone(live.GetManagedFields())
	for i := range entries {
		if isFormer(entries[i]) {
			names.Insert(entries[i].Manager)
			entries[i].Operation = metav1.ManagedFieldsOperationUpdate // the only one that csaupgrade merges
		}
	}
	if extra != nil && !extra.Empty() {
		fields, err := extra.ToJSON()
		if err != nil {
			return nil, err
		}
		names.Insert(defaultsManager)
		raw := metav1.FieldsV1{}
		raw.SetRawBytes(fields)
		entries = append(entries, metav1.ManagedFieldsEntry{
			Manager: defaultsManager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: live.GetAPIVersion(),
			FieldsType: "FieldsV1", FieldsV1: &raw,
		})
	}
	if names.Len() == 0 {
		return nil, nil
	}
	adopted := live.DeepCopy()
	adopted.SetManagedFields(entries)
	return adopted, csaupgrade.UpgradeManagedFields(adopted, names, manager)
}

// Orphans returns the fields that an apply after an adoption removes: manager owns them in adopted, applied lacks them,
// and no other manager owns them. Applied is the object after an apply without the adoption.
func Orphans(adopted, applied *unstructured.Unstructured, manager string) *fieldpath.Set {
	owned, others := fieldpath.NewSet(), fieldpath.NewSet()
	for _, entry := range adopted.GetManagedFields() {
		fields := fieldsOf(entry)
		switch {
		case fields == nil:
		case isApply(entry, manager):
			owned = owned.Union(fields)
		default:
			others = others.Union(fields)
		}
	}
	for _, entry := range applied.GetManagedFields() {
		if isApply(entry, manager) {
			if fields := fieldsOf(entry); fields != nil {
				others = others.Union(fields)
			}
		}
	}
	return owned.Difference(others)
}

// Remove deletes fields from an object.
func Remove(o *unstructured.Unstructured, fields *fieldpath.Set) {
	for path := range fields.All() {
		o.Object, _ = without(o.Object, path).(map[string]any)
	}
}

// without returns a value without what path selects in it. Lists are copied, maps are changed.
func without(v any, path fieldpath.Path) any {
	switch v := v.(type) {
	case map[string]any:
		name := path[0].FieldName
		if name == nil {
			return v
		}
		child, there := v[*name]
		switch {
		case !there:
		case len(path) == 1:
			delete(v, *name)
		default:
			v[*name] = without(child, path[1:])
		}
	case []any:
		item := itemOf(v, path[0], false)
		if item == nil {
			return v
		}
		if len(path) > 1 {
			without(item, path[1:])
			return v
		}
		return slices.DeleteFunc(slices.Clone(v), func(candidate any) bool {
			return itemOf([]any{candidate}, path[0], false) != nil
		})
	}
	return v
}

// Unowned returns those of paths, each a list of field names, that live has, desired lacks, and no manager owns: defaults
// of the server. What is below them is included.
func Unowned(live, desired *unstructured.Unstructured, paths [][]string) *fieldpath.Set {
	set := fieldpath.NewSet()
	for _, names := range paths {
		value, inLive, _ := unstructured.NestedFieldNoCopy(live.Object, names...)
		wanted, inDesired, _ := unstructured.NestedFieldNoCopy(desired.Object, names...)
		if !inLive || inDesired && wanted != nil || isOwned(live, names) {
			continue
		}
		path := fieldpath.Path{}
		for _, name := range names {
			path = append(path, fieldpath.FieldNameElement(name))
		}
		set.Insert(path)
		if fields, ok := value.(map[string]any); ok {
			for name := range fields {
				set.Insert(append(path.Copy(), fieldpath.FieldNameElement(name)))
			}
		}
	}
	return set
}

// isOwned reports whether a manager owns a field, or something in it.
func isOwned(live *unstructured.Unstructured, names []string) bool {
	path := fieldpath.Path{}
	for _, name := range names {
		path = append(path, fieldpath.FieldNameElement(name))
	}
	for _, entry := range live.GetManagedFields() {
		fields := fieldsOf(entry)
		if fields == nil || entry.Subresource != "" {
			continue
		}
		if fields.Has(path) {
			return true
		}
		at, ok := fields, true
		for _, element := range path {
			if at, ok = at.Children.Get(element); !ok {
				break
			}
		}
		if ok {
			return true
		}
	}
	return false
}

// Describe names fields in the notation of kubectl: data.old, spec.ports[port=81].
func Describe(fields *fieldpath.Set) []string {
	var out []string
	for path := range fields.Leaves().All() {
		out = append(out, strings.TrimPrefix(path.String(), "."))
	}
	slices.Sort(out)
	return out
}
