// Package sbom lists the packages in an image as an SPDX document. It reads the databases of dpkg and apk, the metadata of
// installed Python and npm packages, and the build information in Go programs. It needs no network and no other program.
package sbom

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// Package is a package in an image.
type Package struct {
	Name, Version string
	// Type is that of a package URL: deb, apk, pypi, npm, golang. Namespace is the distribution's name for the first two.
	Type, Namespace string
	Arch            string // deb and apk
	License         string // as the package says it; "" when it does not
	// Found is the file in the image that names the package.
	Found string
}

// PURL returns the package URL.
// https://github.com/package-url/purl-spec
func (p Package) PURL() string {
	name := escape.Replace(p.Name)
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	purl := fmt.Sprintf("pkg:%s/%s@%s", p.Type, name, escape.Replace(p.Version))
	if p.Arch != "" {
		purl += "?arch=" + p.Arch
	}
	return purl
}

// escape replaces what separates the parts of a package URL.
var escape = strings.NewReplacer("@", "%40", "+", "%2B", "?", "%3F", "#", "%23", " ", "%20", ":", "%3A")

// Document is an SBOM: an SPDX document as JSON, and how many packages it lists.
type Document struct {
	JSON     []byte
	Packages int
	// Unread are databases of packages that this package does not read, such as that of RPM.
	Unread []string
}

// Of lists the packages of the image in an OCI tarball, which is called name and has the digest.
func Of(tarball, name, digest string) (*Document, error) {
	found, err := scan(tarball)
	if err != nil {
		return nil, fmt.Errorf("list the packages of %s: %w", tarball, err)
	}
	packages := found.packages()
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: name,
		DocumentNamespace: "https://github.com/aksflow/aksflow/spdx/" + strings.ReplaceAll(digest, ":", "-"),
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "aksflow"}}, Created: time.Now().UTC().Format(time.RFC3339),
		},
	}
	const imageID = "Image"
	_, checksum, _ := strings.Cut(digest, ":")
	doc.Packages = append(doc.Packages, &spdx.Package{
		PackageSPDXIdentifier: imageID, PackageName: name, PackageVersion: digest, PackageDownloadLocation: "NOASSERTION",
		PrimaryPackagePurpose: "CONTAINER", PackageChecksums: []common.Checksum{{Algorithm: common.SHA256, Value: checksum}},
	})
	doc.Relationships = append(doc.Relationships, relationship("DOCUMENT", "DESCRIBES", imageID))
	for i, p := range packages {
		id := fmt.Sprintf("Package-%d-%s", i+1, identifier(p.Name))
		doc.Packages = append(doc.Packages, p.spdx(id))
		doc.Relationships = append(doc.Relationships, relationship(imageID, "CONTAINS", id))
	}
	var out bytes.Buffer
	if err := json.Write(doc, &out); err != nil {
		return nil, fmt.Errorf("write the SPDX document: %w", err)
	}
	return &Document{out.Bytes(), len(packages), slices.Sorted(maps.Keys(found.unread))}, nil
}

func (p Package) spdx(id string) *spdx.Package {
	return &spdx.Package{
		PackageSPDXIdentifier: common.ElementID(id), PackageName: p.Name, PackageVersion: p.Version,
		PackageDownloadLocation: "NOASSERTION", PackageLicenseDeclared: "NOASSERTION", PackageLicenseConcluded: "NOASSERTION",
		PackageLicenseComments: p.License, PackageSourceInfo: "found in /" + p.Found,
		PackageExternalReferences: []*spdx.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: p.PURL(),
		}},
	}
}

func relationship(a, kind, b string) *spdx.Relationship {
	return &spdx.Relationship{
		RefA: common.DocElementID{ElementRefID: common.ElementID(a)}, RefB: common.DocElementID{ElementRefID: common.ElementID(b)}, Relationship: kind,
	}
}

// identifier replaces what an SPDX identifier must not have.
func identifier(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, name)
}

// order sorts packages, so that an image has one document but for its time.
func order(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Found, b.Found))
}
