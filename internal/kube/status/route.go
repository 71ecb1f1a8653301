package status

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// route reads what the controllers of Gateways write about an HTTPRoute or a GRPCRoute, for each parent apart
// (RouteParentStatus of https://gateway-api.sigs.k8s.io/reference/spec/)
//
//	metadata:
//	  generation: 3
//	spec:
//	  parentRefs:
//	  - name: public
//	status:
//	  parents:
//	  - parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: public}
//	    controllerName: traefik.io/gateway-controller
//	    conditions:
//	    - type: Accepted             # ResolvedRefs too, and Programmed where a controller tells when its proxies follow
//	      status: "False"
//	      observedGeneration: 3      # below generation: about an older spec
//	      reason: NoMatchingParent
//	      message: ""
//
// A controller that does not serve the Gateway, or none at all, writes nothing, so silence proves no fault.
func route(o *unstructured.Unstructured, w *World) Status {
	refs, _, _ := unstructured.NestedSlice(o.Object, "spec", "parentRefs")
	answers, _, _ := unstructured.NestedSlice(o.Object, "status", "parents")
	var status Status
	var names []string
	for _, ref := range refs {
		parent := parentOf(ref, o.GetNamespace())
		problem := &Problem{
			Reason: "Silent " + parent.String(), Message: "no Gateway has taken it: nothing answers for " + parent.String(),
			Heals: Forgiven, Grace: w.Graces.Route,
		}
		for _, answer := range answers {
			fields, _ := answer.(map[string]any)
			if parentOf(fields["parentRef"], o.GetNamespace()) != parent {
				continue
			}
			problem = answered(parent, fields, o.GetGeneration(), w)
			if problem == nil {
				break // some controllers answer for the Gateways of others too: one that takes it is enough
			}
		}
		if problem != nil {
			status.Problems = append(status.Problems, *problem)
		}
		names = append(names, parent.String())
	}
	status.Ready = len(status.Problems) == 0
	switch {
	case len(names) == 0:
		status.Message = "names no Gateway"
	case status.Ready:
		status.Message = "taken by " + strings.Join(names, ", ")
	default:
		status.Message = "not taken yet"
	}
	return status
}

// parent is a parentRef with its defaults.
type parent struct {
	group, kind, namespace, name, section string
	port                                  int64
}

func parentOf(ref any, namespace string) parent {
	fields, _ := ref.(map[string]any)
	value := func(name, fallback string) string { s, _ := fields[name].(string); return cmp.Or(s, fallback) }
	port, _ := fields["port"].(int64)
	return parent{
		value("group", "gateway.networking.k8s.io"), value("kind", "Gateway"), value("namespace", namespace),
		value("name", ""), value("sectionName", ""), port,
	}
}

func (p parent) String() string { return fmt.Sprintf("%s %s/%s", p.kind, p.namespace, p.name) }

// final are the reasons that no other object can take away.
var final = map[string]bool{"UnsupportedValue": true, "IncompatibleFilters": true, "InvalidKind": true, "UnsupportedProtocol": true}

// answered is what a controller has against the route, or nil.
func answered(parent parent, answer map[string]any, generation int64, w *World) *Problem {
	conditions := conditionsIn(answer)
	if _, ok := conditions["Accepted"]; !ok {
		conditions["Accepted"] = condition{}
	}
	for _, name := range []string{"Accepted", "ResolvedRefs", "Programmed"} {
		c, ok := conditions[name]
		if !ok {
			continue
		}
		p := &Problem{Reason: cmp.Or(c.reason, name) + " " + parent.String(), Heals: Perhaps}
		switch {
		case c.status == "True" && !c.outdated(generation):
			continue
		case c.status == "False" && !c.outdated(generation) && name != "Programmed" && c.reason != "Pending":
			p.Message = fmt.Sprintf("%s refuses it: %s", parent, strings.TrimSuffix(c.reason+": "+c.message, ": "))
			p.Grace = w.Graces.Refused // a Gateway, a ReferenceGrant or a Service that comes beside it
			if final[c.reason] {
				p.Heals, p.Grace = Never, 0
			}
		default:
			p.Message = fmt.Sprintf("%s has not taken it: is its controller running?", parent)
			p.Grace = w.cloudGrace()
		}
		return p
	}
	return nil
}
