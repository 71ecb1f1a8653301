package baseimage

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeLayout makes the layout dir/layoutDir from the root file systems debian.tar and redis.tar in dir.
func writeLayout(dir string) error {
	debianTar, redisTar := filepath.Join(dir, "debian.tar"), filepath.Join(dir, "redis.tar")
	base, err := compressed(debianTar+".gz", func(w io.Writer) error { return copyFile(w, debianTar) })
	if err != nil {
		return err
	}
	top, err := compressed(redisTar+".gz", func(w io.Writer) error { return diff(w, debianTar, redisTar) })
	if err != nil {
		return err
	}
	path, err := layout.Write(filepath.Join(dir, layoutDir), empty.Index)
	if err != nil {
		return err
	}
	for _, i := range []struct {
		ref    string
		config v1.Config
		layers []v1.Layer
	}{
		{Debian, debianConfig, []v1.Layer{base}},
		{Redis, redisConfig, []v1.Layer{base, top}},
	} {
		img, err := image(i.config, i.layers)
		if err != nil {
			return err
		}
		if err := path.AppendImage(img, layout.WithAnnotations(map[string]string{refName: i.ref})); err != nil {
			return err
		}
	}
	return nil
}

// image makes an OCI image. Its config has architecture and operating system, because BuildKit refuses a base without them.
func image(config v1.Config, layers []v1.Layer) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	created := v1.Time{Time: time.Unix(epoch, 0).UTC()}
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", Created: created, Config: config, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{Created: created, CreatedBy: "mmdebstrap " + suite}})
		if err != nil {
			return nil, err
		}
	}
	return img, nil
}

// compressed compresses the output of write into file with gzip, and opens file as a layer. Speed matters more than size,
// because the layer is read many times and sent over loopback.
func compressed(file string, write func(io.Writer) error) (v1.Layer, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	zw, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := write(zw); err != nil {
		return nil, err
	}
	if err := errors.Join(zw.Close(), f.Close()); err != nil {
		return nil, err
	}
	return tarball.LayerFromFile(file, tarball.WithMediaType(types.OCILayer))
}

func copyFile(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(w, f)
	return err
}

// diff writes the entries of the tar file upper that lower does not have, or has with other attributes or content. An entry
// of lower that upper does not have is an error, because both come from the same recipe.
func diff(w io.Writer, lower, upper string) error {
	in := map[string][sha256.Size]byte{}
	if err := entries(lower, func(h *tar.Header, r io.Reader) error {
		sum, err := fingerprint(h, r)
		in[h.Name] = sum
		return err
	}); err != nil {
		return err
	}

	changed := map[string]bool{}
	if err := entries(upper, func(h *tar.Header, r io.Reader) error {
		sum, err := fingerprint(h, r)
		old, found := in[h.Name]
		changed[h.Name] = !found || old != sum
		delete(in, h.Name)
		return err
	}); err != nil {
		return err
	}
	for name := range in {
		return fmt.Errorf("%s is in %s and not in %s", name, filepath.Base(lower), filepath.Base(upper))
	}

	tw := tar.NewWriter(w)
	if err := entries(upper, func(h *tar.Header, r io.Reader) error {
		if !changed[h.Name] {
			return nil
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(tw, r)
		return err
	}); err != nil {
		return err
	}
	return tw.Close()
}

// fingerprint returns the same value for two entries that unpack to the same file.
func fingerprint(h *tar.Header, r io.Reader) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	if err := json.NewEncoder(hash).Encode(h); err != nil {
		return sum, err
	}
	if _, err := io.Copy(hash, r); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

func entries(file string, each func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(file), err)
		}
		if err := each(h, tr); err != nil {
			return fmt.Errorf("%s in %s: %w", h.Name, filepath.Base(file), err)
		}
	}
}
