// Package declared reads which images a repository builds, by the files of other tools: azure.yaml of the Azure Developer
// CLI, skaffold.yaml, and docker-bake.hcl of Docker Buildx.
package declared

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Image is an image that a file of another tool declares.
type Image struct {
	// File is where it is declared, and Name what it is called there; "" where it has a reference only.
	File, Name string
	// Reference is how manifests name the image; "" where that is not known.
	Reference string
	// Context and Dockerfile are paths of the repository, and Target is a stage; "" is the last one.
	Context, Dockerfile, Target string
	Args                        map[string]string
	// Unset are build arguments whose values are not known.
	Unset []string
	// Manifests are paths of what is deployed with the image: directories, or files with wildcards.
	Manifests []string
	// Written is a file among the manifests that azd writes; "" for none.
	Written string
	// Builder is what makes the image without a Dockerfile; "" for one that has a Dockerfile.
	Builder string
}

// String says which image it is, for messages.
func (i Image) String() string {
	if i.Name != "" {
		return fmt.Sprintf("the service %s of %s", i.Name, i.File)
	}
	return fmt.Sprintf("the image %s of %s", i.Reference, i.File)
}

// IsService reports whether the image is that of a service of azure.yaml, whose name everybody knows it by.
func (i Image) IsService() bool { return azdName.MatchString(path.Base(i.File)) }

// Deploys reports whether the image is deployed with manifests of a directory.
func (i Image) Deploys(dir string) bool {
	return slices.ContainsFunc(i.Manifests, func(name string) bool {
		return name == dir || path.Dir(name) == dir
	})
}

var (
	azdName      = regexp.MustCompile(`^azure\.ya?ml$`)
	skaffoldName = regexp.MustCompile(`^skaffold([.-][^/]*)?\.ya?ml$`)
)

// IsFile reports whether a file is one that Read reads, by its name.
func IsFile(name string) bool {
	base := path.Base(name)
	return azdName.MatchString(base) || skaffoldName.MatchString(base) || bakeName.MatchString(base)
}

// reader reads files of a repository.
type reader struct {
	read    func(name string) ([]byte, error)
	seen    map[string]bool
	images  []Image
	notices []string
}

// Read returns the images that files of other tools declare. The files of the repository are read with read. What cannot be
// read is said in the notices, and left out.
func Read(names []string, read func(name string) ([]byte, error)) (images []Image, notices []string) {
	r := &reader{read: read, seen: map[string]bool{}}
	slices.Sort(names)
	for _, name := range names {
		switch base := path.Base(name); {
		case azdName.MatchString(base):
			r.azd(name)
		case bakeName.MatchString(base):
			r.bake(name)
		default:
			r.skaffold(name)
		}
	}
	return r.images, r.notices
}

func (r *reader) notice(format string, args ...any) {
	r.notices = append(r.notices, fmt.Sprintf(format, args...))
}

// decoded reports whether a document of a file could be decoded. What is in a form that is not known is left out, and said.
func (r *reader) decoded(name string, err error) bool {
	var form *yaml.TypeError
	if errors.As(err, &form) {
		r.notice("%s is read in part: %s", name, goType.ReplaceAllString(strings.Join(form.Errors, "; "), ""))
		return true
	}
	if err != nil {
		r.notice("%s cannot be read: %v", name, err)
	}
	return err == nil
}

// goType matches what an error of the YAML decoder says of the program.
var goType = regexp.MustCompile(` into [\w.\[\]*]+`)

// isFile reports whether a path of the repository is a file.
func (r *reader) isFile(name string) bool {
	_, err := r.read(name)
	return err == nil
}

// missing reports whether a path of the repository is not there.
func (r *reader) missing(name string) bool {
	_, err := r.read(name)
	return errors.Is(err, fs.ErrNotExist)
}

// With is an image with what another file says of it, too.
func (i Image) With(other Image) Image {
	if i.Name == "" {
		i.File, i.Name = other.File, other.Name
	}
	i.Reference = cmp.Or(i.Reference, other.Reference)
	i.Manifests = slices.Concat(i.Manifests, other.Manifests)
	return i
}

// values are the build arguments that have a known value, and the names of the others: a value with a template or a variable
// in it is not known.
func values(args map[string]*string) (known map[string]string, unset []string) {
	known = map[string]string{}
	for name, value := range args {
		if value == nil || strings.Contains(*value, "{{") || strings.Contains(*value, "$") {
			unset = append(unset, name)
		} else {
			known[name] = *value
		}
	}
	slices.Sort(unset)
	return known, unset
}
