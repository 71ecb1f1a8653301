package sbom

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spdx/tools-golang/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/testing/ociimage"
)

const digest = "sha256:" + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// tarball makes an image of layers, the lowest first.
func tarball(t *testing.T, layers ...map[string]string) string {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, files := range layers {
		var err error
		img, err = mutate.AppendLayers(img, ociimage.Layer(t, files))
		require.NoError(t, err)
	}
	return ociimage.Write(t, img)
}

func TestPackages(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	doc, err := Of(tarball(t,
		map[string]string{
			"etc/os-release": "NAME=Debian\nID=debian\n",
			"var/lib/dpkg/status": "Package: libc6\nStatus: install ok installed\nVersion: 2.41-12\nArchitecture: amd64\nDescription: GNU C Library\n a line: of it\n\n" +
				"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: zlib1g\nStatus: install ok installed\nVersion: 1:1.3+b1\nArchitecture: amd64\n",
			"usr/lib/python3/site-packages/Flask-3.1.dist-info/METADATA":        "Metadata-Version: 2.4\nName: Flask\nVersion: 3.1\nLicense-Expression: BSD-3-Clause\n\nName: not this\n",
			"usr/lib/python3/site-packages/hidden-1.dist-info/METADATA":         "Name: hidden\nVersion: 1\n",
			"app/node_modules/@a/b/package.json":                                `{"name": "@a/b", "version": "1.0.0", "license": "MIT"}`,
			"app/node_modules/left/package.json":                                `{"name": "left", "version": "0.1.0"}`,
			"app/package.json":                                                  `{"name": "app", "version": "9"}`,
			"usr/local/bin/small!":                                              "#!/bin/sh\n",
			"lib/apk/db/installed":                                              "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\n",
			"usr/local/lib/python3/dist-packages/replaced-1.dist-info/METADATA": "Name: replaced\nVersion: 1\n",
		},
		map[string]string{
			"usr/lib/python3/site-packages/.wh.hidden-1.dist-info":              "",
			"app/node_modules/left/.wh..wh..opq":                                "",
			"usr/local/lib/python3/dist-packages/replaced-1.dist-info/METADATA": "Name: replaced\nVersion: 2\n",
			"usr/local/bin/program!":                                            string(program),
			"var/lib/rpm/rpmdb.sqlite":                                          "",
		},
	), "registry.example/vote", digest)
	require.NoError(t, err)
	assert.Equal(t, []string{"RPM"}, doc.Unread)

	read, err := json.Read(bytes.NewReader(doc.JSON))
	require.NoError(t, err, "the library reads it again")
	var urls []string
	golang := false
	for _, p := range read.Packages {
		for _, r := range p.PackageExternalReferences {
			if strings.HasPrefix(r.Locator, "pkg:golang/") {
				golang = golang || strings.HasPrefix(r.Locator, "pkg:golang/stdlib@")
				continue
			}
			urls = append(urls, r.Locator)
		}
	}
	assert.True(t, golang, "the program's own modules are listed")
	assert.Equal(t, []string{
		"pkg:apk/debian/musl@1.2.5-r0?arch=x86_64", "pkg:deb/debian/libc6@2.41-12?arch=amd64", "pkg:deb/debian/zlib1g@1%3A1.3%2Bb1?arch=amd64",
		"pkg:npm/%40a/b@1.0.0", "pkg:pypi/flask@3.1", "pkg:pypi/replaced@2",
	}, urls)
	assert.Len(t, read.Packages, doc.Packages+1, "all packages, and the image")
	assert.Len(t, read.Relationships, doc.Packages+1)
}

func TestNoPackages(t *testing.T) {
	doc, err := Of(tarball(t, map[string]string{"hello": "world"}), "registry.example/vote", digest)
	require.NoError(t, err)
	assert.Zero(t, doc.Packages)
	_, err = Of("missing.tar", "registry.example/vote", digest)
	assert.ErrorContains(t, err, "missing.tar")
}
