// Package httpsource describes files of web servers as BuildKit fetches them.
package httpsource

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"

	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"

	"github.com/aksflow/aksflow/internal/engine/embedded/gitsource"
)

// File is a file of a web server. It holds no credentials, only the ID by which BuildKit asks for them.
type File struct {
	URL        string // without user and password
	Name       string // what the file is called
	Mode       fs.FileMode
	Checksum   digest.Digest // of its content; "" if it may be any
	AuthHeader string        // ID of the secret with the Authorization header; "" for none

	shown string // the URL in progress
}

// Parse reads the URL of a file. The name is by default the last part of the URL's path, as with Dagger. Parse returns the
// Authorization header that user and password in the URL stand for; "" if there are none.
func Parse(address, name, checksum string) (f File, header string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return File{}, "", errors.New("http: the URL is not one of a file on a web server")
	}
	if password, ok := u.User.Password(); ok {
		header = gitsource.BasicAuth(u.User.Username(), password)
	}
	u.User = nil
	f = File{URL: u.String(), Name: name}
	if f.Name == "" {
		if f.Name = path.Base(u.Path); f.Name == "." || f.Name == "/" {
			f.Name = "index"
		}
	}
	u.RawQuery, u.Fragment = "", "" // which may hold a token
	f.shown = u.String()
	if checksum != "" {
		if f.Checksum, err = digest.Parse(checksum); err != nil {
			return File{}, "", fmt.Errorf("invalid checksum %q: %w", checksum, err)
		}
	}
	return f, header, nil
}

// State is a directory with the file.
func (f File) State() llb.State {
	opts := []llb.HTTPOption{llb.Filename(f.Name), llb.Chmod(f.Mode), llb.WithCustomName("http " + f.shown)}
	if f.Checksum != "" {
		opts = append(opts, llb.Checksum(f.Checksum))
	}
	if f.AuthHeader != "" {
		opts = append(opts, llb.AuthHeaderSecret(f.AuthHeader))
	}
	return llb.HTTP(f.URL, opts...)
}
