package status

import "time"

// Graces are how long a problem that may heal is waited for.
type Graces struct {
	Config  time.Duration // a ConfigMap or Secret that is missing
	Pull    time.Duration // a registry that does not answer
	Crash   time.Duration // a container that crashed once
	Probe   time.Duration // a probe that fails, when longer than what the probe itself allows
	Place   time.Duration // a pod that no node has room for
	Refused time.Duration // a webhook or a quota's controller that cannot be asked, a Gateway that refuses a route
	Route   time.Duration // a route that no Gateway answers for
}

// DefaultGraces are used when the user sets no grace.
var DefaultGraces = Graces{
	Config:  3 * time.Second,
	Pull:    30 * time.Second,
	Crash:   60 * time.Second,
	Place:   30 * time.Second,
	Refused: 20 * time.Second,
	Route:   10 * time.Second,
}

// AllGraces is the same grace for every reason.
func AllGraces(d time.Duration) Graces { return Graces{d, d, d, d, d, d, d} }

// DefaultLimit is how long an object may stay without any progress: Kubernetes' own default of progressDeadlineSeconds.
const DefaultLimit = 10 * time.Minute

// Limits of waits for something that is at work, each from the last progress on.
const (
	cloudLimit    = 5 * time.Minute  // what a cloud does behind the scenes: an address, a disk that moves to another node
	nodeLimit     = 20 * time.Minute // an autoscaler that adds a node
	leavingLimit  = 2 * time.Minute  // pods of other apps that are terminating, and may have the room that is missing
	jobLimit      = time.Hour        // a Job without activeDeadlineSeconds
	operatorLimit = time.Hour        // a custom resource whose controller says that it is at work: a database in the cloud
	makerLimit    = 2 * time.Minute  // a Secret that a custom resource of the release, or a controller of the cluster, is to make
)

// How long after its cause is gone Kubernetes may take to try again.
const (
	placeRetry  = 20 * time.Second // the scheduler's longest back-off is 10 s
	createRetry = 30 * time.Second // the ReplicaSet controller doubles its pauses from 5 ms on
	configRetry = 25 * time.Second // the kubelet tries again every 10 to 15 s
	pullRetry   = 5*time.Minute + 30*time.Second
	detachRetry = 7 * time.Minute // a volume is detached by force after 6 min
)

// The kubelet doubles its pause between two starts of a container, from 10 s to 5 min.
const (
	firstBackOff = 10 * time.Second
	maxBackOff   = 5 * time.Minute
)

// crashRetry is how long a container that was restarted so often may take until it has been tried once more.
func crashRetry(restarts int32) time.Duration {
	pause := firstBackOff
	for i := int32(1); i < restarts && pause < maxBackOff; i++ {
		pause *= 2
	}
	return min(pause, maxBackOff) + 30*time.Second
}

// clockTolerance is how far the clocks of two machines may be apart.
const clockTolerance = time.Minute

func (w *World) cloudGrace() time.Duration { return max(w.Graces.Place, cloudLimit) }
