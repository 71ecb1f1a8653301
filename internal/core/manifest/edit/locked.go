package edit

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// locked returns why no reference in a file may be set, although it can be read; nil when one may.
func (u *Unit) locked() error {
	if u.utf16 {
		return fault.Usagef("%s: holds the image and is written in UTF-16, which is not edited; nothing was changed: save the file in UTF-8", u.name)
	}
	for _, doc := range u.docs {
		if len(doc.Content) > 0 && isSealed(doc.Content[0]) {
			return fault.Usagef("%s: holds the image and is encrypted with SOPS, whose checksum covers the image, too: an edit would make the file unreadable; nothing was changed: "+
				"keep the image in a file that is not encrypted, or encrypt this one with `sops --mac-only-encrypted`", u.name)
		}
	}
	return nil
}

// isSealed reports whether a checksum of SOPS covers all values of a document, and not only those that are encrypted.
// https://github.com/getsops/sops#encrypting-only-parts-of-a-file
func isSealed(root *yaml.Node) bool {
	if root.Kind == yaml.SequenceNode { // the lines of a file of settings
		sealed := false
		for _, line := range root.Content {
			name, value, _ := strings.Cut(line.Value, "=")
			switch {
			case name == "sops_mac_only_encrypted" && value == "true":
				return false
			case name == "sops_mac":
				sealed = true
			}
		}
		return sealed
	}
	sops := at(root, "sops")
	return text(at(sops, "mac")) != "" && text(at(sops, "mac_only_encrypted")) != "true"
}
