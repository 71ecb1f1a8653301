// Package config has the flags of a controller that stores artifacts.
package config

import (
	"time"

	"github.com/spf13/pflag"
)

// Options of storing and serving artifacts.
type Options struct {
	ArtifactRetentionTTL     time.Duration // how long one that was replaced is kept
	ArtifactRetentionRecords int           // how many of an object are kept at most
	ArtifactDigestAlgo       string
	StoragePath              string // directory
	StorageAddress           string // to listen on
	StorageAdvAddress        string // host:port in the artifacts' URLs
}

// BindFlags lets flags set the options.
func (o *Options) BindFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.StoragePath, "storage-path", "", "The local storage path.")
	fs.StringVar(&o.StorageAddress, "storage-addr", ":9090", "The address the static file server binds to.")
	fs.StringVar(&o.StorageAdvAddress, "storage-adv-addr", "", "The advertised address of the static file server.")
	fs.DurationVar(&o.ArtifactRetentionTTL, "artifact-retention-ttl", time.Minute, "The duration that replaced artifacts are kept.")
	fs.IntVar(&o.ArtifactRetentionRecords, "artifact-retention-records", 2, "The number of artifacts kept of an object.")
	fs.StringVar(&o.ArtifactDigestAlgo, "artifact-digest-algo", "sha256", "The algorithm of the artifacts' digests.")
}
