package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

// archive writes the programs into a tar archive, which the GitHub Action unpacks.
func (r *release) archive(to, bin string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	compressed := gzip.NewWriter(f)
	archive := tar.NewWriter(compressed)
	for _, p := range programs {
		if err := r.add(archive, filepath.Join(bin, p.name), 0o755); err != nil {
			return err
		}
	}
	if err := r.add(archive, "LICENSE", 0o644); err != nil {
		return err
	}
	return errors.Join(archive.Close(), compressed.Close())
}

func (r *release) add(to *tar.Writer, file string, mode int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: filepath.Base(file), Mode: mode, Size: info.Size(), ModTime: r.time, Format: tar.FormatPAX}
	if err := to.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return err
}

// Where the Debian package puts the programs: aksflow finds the others beside itself.
const (
	library = "/usr/lib/aksflow/"
	command = "/usr/bin/aksflow"
)

// debianPackage writes a package that brings what the embedded engine runs.
func (r *release) debianPackage(to, bin, arch string) (err error) {
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "aksflow", Arch: arch, Platform: "linux", Version: r.version, MTime: r.time,
		Section: "devel", Priority: "optional", License: "Apache-2.0", Homepage: r.source,
		Maintainer:  "aksflow <maintainers@users.noreply.aksflow.example>",
		Description: "Delivery pipeline for teams on Azure Kubernetes Service\nBuilds, tests and publishes images without Docker, and delivers them by push or by pull.",
		Overridables: nfpm.Overridables{
			Depends: []string{"runc", "iptables", "containernetworking-plugins"},
			// The last two are for users without root.
			Recommends: []string{"ca-certificates", "iproute2", "uidmap"},
			// What `aksflow up` needs beside these it names itself.
			Suggests: []string{"containerd", "git", "mmdebstrap"},
		},
	})
	own := func(mode os.FileMode) *files.ContentFileInfo {
		return &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.time}
	}
	for _, p := range programs {
		file, err := filepath.EvalSymlinks(filepath.Join(bin, p.name))
		if err != nil {
			return err
		}
		info.Contents = append(info.Contents, &files.Content{Source: file, Destination: library + p.name, FileInfo: own(0o755)})
	}
	info.Contents = append(info.Contents,
		&files.Content{Source: strings.Replace(library+"aksflow", "/usr", "..", 1), Destination: command, Type: files.TypeSymlink, FileInfo: own(0o777)},
		&files.Content{Source: "LICENSE", Destination: "/usr/share/doc/aksflow/copyright", FileInfo: own(0o644)})
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return deb.Default.Package(info, f)
}
