package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image"
)

// ReadMade reads what another program made of the source, the Dagger module: a JSON document, with the image beside it.
func ReadMade(file string) (*build.Made, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("what was made: %w", err))
	}
	var m build.Made
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fault.Usage(fmt.Errorf("what was made: %s: %w", file, err))
	}
	m.Tarball = filepath.Join(filepath.Dir(file), m.Tarball)
	return &m, nil
}

// handedOver is the work that another program did with an engine of its own.
type handedOver struct{ *Delivery }

func (d handedOver) build(_ context.Context, _ delivery.Source, tarball string, _ map[string]string) (digest string, err error) {
	if tarball != d.Made.Tarball {
		return "", errors.New("the image was built by another program, and is to be taken from its file")
	}
	return image.DigestOf(tarball)
}

// test returns the results of the tests that ran on the image. There are none for another image, such as one that another
// run recorded for this source while this one was made.
func (d handedOver) test(_ context.Context, _ delivery.Source, tarball string) (*build.Results, error) {
	tested, err := image.DigestOf(d.Made.Tarball)
	if err != nil {
		return nil, err
	}
	asked, err := image.DigestOf(tarball)
	if err != nil {
		return nil, err
	}
	if asked != tested {
		return nil, fmt.Errorf("the registry has the image %s of this source, and it did not pass these tests; what was tested is %s: call again with --rebuild", asked, tested)
	}
	if d.Made.Results == nil {
		return nil, errors.New("no tests ran, and aksflow.yaml has some")
	}
	return d.Made.Results, nil
}

// took is how long a step took in the program that made the image.
func (d *Delivery) took(step string) time.Duration {
	if d.Made == nil {
		return 0
	}
	return d.Made.Took[step]
}

// otherBases says that the image was made from other images than those of its key; "" if it was not.
func (d *Delivery) otherBases(k *known) string {
	if d.Made == nil || maps.Equal(d.Made.Images, k.image.Images) {
		return ""
	}
	return "an image that it is made from has moved since it was built"
}
