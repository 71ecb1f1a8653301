package sbom

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"io"
	"path"
	"slices"
	"strings"
)

// The databases of distributions.
const (
	dpkgStatus = "var/lib/dpkg/status"
	dpkgParts  = "var/lib/dpkg/status.d/" // of images without dpkg
)

var (
	apkFiles     = []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"}
	releaseFiles = []string{"etc/os-release", "usr/lib/os-release"}
)

// metadata reports whether a file names packages by its place.
func metadata(name string) bool {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	switch {
	case name == dpkgStatus, slices.Contains(apkFiles, name), slices.Contains(releaseFiles, name):
		return true
	case strings.HasPrefix(name, dpkgParts):
		return !strings.HasSuffix(name, ".md5sums")
	case base == "METADATA":
		return strings.HasSuffix(dir, ".dist-info")
	case base == "PKG-INFO":
		return strings.HasSuffix(dir, ".egg-info")
	case base == "package.json":
		parent := path.Dir(dir)
		return path.Base(parent) == "node_modules" || strings.HasPrefix(path.Base(parent), "@") && path.Base(path.Dir(parent)) == "node_modules"
	}
	return false
}

// packages returns what the files name, in order.
func (f *files) packages() []Package {
	distribution := f.distribution()
	var all []Package
	for name, content := range f.content {
		switch {
		case name == dpkgStatus || strings.HasPrefix(name, dpkgParts):
			all = append(all, dpkg(name, distribution, content)...)
		case slices.Contains(apkFiles, name):
			all = append(all, apk(name, distribution, content)...)
		case slices.Contains(releaseFiles, name):
		case strings.HasSuffix(name, ".json"):
			all = append(all, npm(name, content)...)
		default:
			all = append(all, python(name, content)...)
		}
	}
	for _, packages := range f.inside {
		all = append(all, packages...)
	}
	slices.SortFunc(all, order)
	return slices.Compact(all)
}

// distribution returns the ID of os-release.
func (f *files) distribution() string {
	for _, name := range releaseFiles {
		for line := range strings.Lines(string(f.content[name])) {
			if id, ok := strings.CutPrefix(strings.TrimSpace(line), "ID="); ok {
				return strings.Trim(id, `"'`)
			}
		}
	}
	return ""
}

// paragraphs calls visit with the fields of each paragraph of a file in the form of mail headers. Continued lines are left
// out.
func paragraphs(content []byte, visit func(map[string]string)) {
	fields := map[string]string{}
	flush := func() {
		if len(fields) > 0 {
			visit(fields)
		}
		fields = map[string]string{}
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, len(content)+1)
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			flush()
			continue
		}
		if key, value, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
			if _, twice := fields[key]; !twice {
				fields[key] = strings.TrimSpace(value)
			}
		}
	}
	flush()
}

func dpkg(file, distribution string, content []byte) (packages []Package) {
	paragraphs(content, func(fields map[string]string) {
		status := fields["Status"]
		if fields["Package"] == "" || status != "" && !strings.HasSuffix(status, " installed") {
			return // removed, with its configuration left
		}
		packages = append(packages, Package{
			Name: fields["Package"], Version: fields["Version"], Type: "deb", Namespace: cmp.Or(distribution, "debian"),
			Arch: fields["Architecture"], Found: file,
		})
	})
	return packages
}

func apk(file, distribution string, content []byte) (packages []Package) {
	paragraphs(content, func(fields map[string]string) {
		if fields["P"] != "" {
			packages = append(packages, Package{
				Name: fields["P"], Version: fields["V"], Type: "apk", Namespace: cmp.Or(distribution, "alpine"),
				Arch: fields["A"], License: fields["L"], Found: file,
			})
		}
	})
	return packages
}

// python reads core metadata, whose headers end at the first empty line.
func python(file string, content []byte) (packages []Package) {
	first := true
	paragraphs(content, func(fields map[string]string) {
		if first && fields["Name"] != "" {
			name := strings.ToLower(strings.ReplaceAll(fields["Name"], "_", "-"))
			packages = append(packages, Package{
				Name: name, Version: fields["Version"], Type: "pypi", License: cmp.Or(fields["License-Expression"], fields["License"]), Found: file,
			})
		}
		first = false
	})
	return packages
}

func npm(file string, content []byte) []Package {
	var p struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		License any    `json:"license"`
	}
	if err := json.Unmarshal(content, &p); err != nil || p.Name == "" || p.Version == "" {
		return nil // a folder of a package may have a file of that name, too
	}
	license, _ := p.License.(string)
	return []Package{{Name: p.Name, Version: p.Version, Type: "npm", License: license, Found: file}}
}

// program returns the modules that a Go program is built of; none for other programs.
func program(file string, size int64, content io.Reader) ([]Package, error) {
	magic := make([]byte, 4)
	if _, err := io.ReadFull(content, magic); err != nil {
		return nil, err
	}
	if string(magic) != "\x7fELF" {
		return nil, nil
	}
	raw := bytes.NewBuffer(make([]byte, 0, size))
	raw.Write(magic)
	if _, err := raw.ReadFrom(content); err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(raw.Bytes()))
	if err != nil {
		return nil, nil
	}
	packages := []Package{{Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go"), Type: "golang", Found: file}}
	if info.Main.Path != "" {
		packages = append(packages, Package{Name: info.Main.Path, Version: info.Main.Version, Type: "golang", Found: file})
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		packages = append(packages, Package{Name: m.Path, Version: m.Version, Type: "golang", Found: file})
	}
	return packages, nil
}
