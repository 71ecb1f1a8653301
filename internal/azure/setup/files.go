package setup

import (
	"fmt"
	"strings"

	"github.com/aksflow/aksflow/manifests/rbac"
)

// File is one file of a plan.
type File struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

// The files' endings.
const (
	bicepFile      = ".bicep"
	armFile        = ".json"
	kubernetesFile = ".yaml"
)

// unknownObject stands in the Kubernetes objects for the object ID, which Azure gives when it makes the identity.
const unknownObject = "OBJECT_ID"

// Files returns the files of all identities: the templates in Bicep and as ARM templates, and the objects for the cluster.
func (p *Plan) Files() ([]File, error) {
	var files []File
	for _, id := range p.Identities {
		for _, t := range id.templates() {
			base := id.Name
			if !strings.EqualFold(t.group, id.Group) {
				base += "-in-" + name(t.group)
			}
			arm, err := t.arm()
			if err != nil {
				return nil, err
			}
			files = append(files, File{base + bicepFile, id.about(t, base) + t.bicep()}, File{base + armFile, arm})
		}
		if len(id.Grants) > 0 {
			content, err := id.kubernetes()
			if err != nil {
				return nil, err
			}
			files = append(files, File{id.Name + kubernetesFile, content})
		}
	}
	return files, nil
}

// objectCommand prints the identity's object ID once it is there.
func (id *Identity) objectCommand() string {
	return fmt.Sprintf("$(az identity show --subscription %s --resource-group %s --name %s --query principalId --output tsv)", id.Subscription, id.Group, id.Name)
}

// about says what a template is for and how it is deployed.
func (id *Identity) about(t template, base string) string {
	command := fmt.Sprintf("az deployment group create --subscription %s --resource-group %s --template-file %s", t.subscription, t.group, base+bicepFile)
	after := "Its output clientId is AZURE_CLIENT_ID of the jobs."
	if len(t.outputs) == 0 {
		command += ` --parameters "` + principalParameter + "=" + id.objectCommand() + `"`
		after = "The identity must be there before."
	}
	return fmt.Sprintf("// %s\n//\n//   %s\n//\n// %s %s is the same as an ARM template.\n\n", t.purpose, command, after, base+armFile)
}

// kubernetes are the Roles that the identity is bound to, and their bindings.
func (id *Identity) kubernetes() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `# What the identity %s may do in the cluster. Once the identity and the namespaces are there:
#
#   sed "s/%s/%s/" %s | kubectl apply -f -
`, id.Name, unknownObject, id.objectCommand(), id.Name+kubernetesFile)
	written := map[string]bool{}
	for _, g := range id.Grants {
		key := g.Kind + "/" + g.Role
		if g.Kind == "Role" {
			key = g.Namespace + "/" + key
		}
		if !written[key] {
			role, err := g.definition()
			if err != nil {
				return "", err
			}
			b.WriteString("---\n" + role)
		}
		written[key] = true
		fmt.Fprintf(&b, `---
# %s
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: %s
  namespace: %s
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: %s, name: %s}
subjects:
- {kind: User, apiGroup: rbac.authorization.k8s.io, name: %s}
`, g.Purpose, id.Name+"-"+g.Role, g.Namespace, g.Kind, g.Role, unknownObject)
	}
	return b.String(), nil
}

// definition is the text of the Role or ClusterRole in manifests/rbac, with the namespace of a Role.
func (g Grant) definition() (string, error) {
	for _, file := range []string{rbac.Deployer, rbac.Wait} {
		for document := range strings.SplitSeq(file, "\n---\n") {
			head := "\nkind: " + g.Kind + "\nmetadata:\n  name: " + g.Role + "\n"
			before, after, found := strings.Cut("\n"+document, head)
			if !found {
				continue
			}
			if g.Kind == "Role" {
				head += "  namespace: " + g.Namespace + "\n"
			}
			return strings.TrimSpace(before[strings.LastIndex(before, "\napiVersion:"):]+head+after) + "\n", nil
		}
	}
	return "", fmt.Errorf("manifests/rbac has no %s %s", g.Kind, g.Role)
}
