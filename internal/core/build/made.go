package build

import "time"

// Made is an image that one program built and tested of a source, for another one that brings it to its environment: the Dagger
// module makes it with the engine that it runs in, and the aksflow program records and delivers it. It travels as JSON.
type Made struct {
	// Tarball is the file with the image, from where the JSON is.
	Tarball string `json:"tarball"`
	// Images are those of registries that the image was made from, with their digests, as they were known before the build.
	Images map[string]string `json:"images,omitempty"`
	// Results are those of the tests that it passed; nil where no tests are configured.
	Results *Results `json:"results,omitempty"`
	// Took is how long the steps took, by their names.
	Took map[string]time.Duration `json:"took,omitempty"`
}
