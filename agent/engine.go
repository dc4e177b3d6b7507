package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jaco-sh/jaco/desired"
)

// What an engine answers besides success. Implementations wrap these; an error
// that is none of them is the engine's own refusal, and its text is for people.
var (
	// ErrNotFound is returned when a named container, image, network or volume
	// does not exist on the engine.
	ErrNotFound = errors.New("not found on the engine")
	// ErrConflict is returned by Create when the name is taken, and by
	// RemoveNetwork when the network is in use.
	ErrConflict = errors.New("conflict on the engine")
	// ErrUnavailable is returned when the engine did not answer: it is not
	// running, broke the connection, or ran into a deadline. What the call was
	// to do may or may not have happened.
	ErrUnavailable = errors.New("engine does not answer")
	// ErrForeign is returned when a name that JACO needs belongs to something
	// that is not this cluster's.
	ErrForeign = errors.New("not of this cluster")
)

// Engine is a container engine on this node, seen through the label
// sh.jaco.cluster of one cluster: what does not carry it is neither listed nor
// touched.
//
// All methods may be called concurrently, also for the same object; the agent
// never acts twice at a time on one replica. Each blocks until it is done or
// ctx ends. A call that was given up may still take effect afterwards: callers
// look again.
type Engine interface {
	// Info asks for the engine's version and capacity. It is also how the agent
	// finds out whether the engine answers at all.
	Info(ctx context.Context) (Info, error)
	// Events opens the event stream. When it returns, what happens from now on
	// will be delivered, or failed holds an error. failed delivers exactly one
	// error, when the stream ends; nothing follows on events. Only events of
	// this cluster's containers, and of networks, are delivered. The stream is
	// given up by ending ctx.
	Events(ctx context.Context) (events <-chan Event, failed <-chan error)
	// List returns this cluster's containers in every state, complete as
	// Inspect returns them.
	List(ctx context.Context) ([]Container, error)
	// ListNetworks returns this cluster's networks.
	ListNetworks(ctx context.Context) ([]Network, error)
	// Inspect returns a container by id or by name, whoever made it
	// (Container.Labels tells). ErrNotFound: there is none.
	Inspect(ctx context.Context, idOrName string) (Container, error)

	// Image returns what a reference stands for on this engine, without asking
	// a registry. ErrNotFound: it is not there.
	Image(ctx context.Context, reference string) (Image, error)
	// Pull fetches an image, in the name of the account unless that is nil;
	// progress is discarded.
	Pull(ctx context.Context, reference string, account *Account) error
	// EnsureNetwork makes the bridge network unless it exists. ErrForeign: the
	// name belongs to a network without this cluster's label. A network that
	// exists otherwise than asked for is replaced, or an error when in use. An
	// external one is only looked for; ErrNotFound: it is not there.
	EnsureNetwork(ctx context.Context, n Network) error
	// RemoveNetwork removes a network by name; ErrNotFound is not reported.
	RemoveNetwork(ctx context.Context, name string) error
	// EnsureVolume makes the volume unless one of that name exists; an existing
	// one is used as it is, because what it holds is worth more than its label.
	// An external one is only looked for; ErrNotFound: it is not there.
	EnsureVolume(ctx context.Context, v Volume) error
	// ListVolumes returns this cluster's named volumes.
	ListVolumes(ctx context.Context) ([]Volume, error)
	// RemoveVolume removes a volume by name, with what it holds; ErrNotFound is
	// not reported. ErrConflict: a container has it.
	RemoveVolume(ctx context.Context, name string) error

	// Create makes a container, attached to all its networks, without starting
	// it, and returns its id. ErrConflict: the name is taken. ErrNotFound: the
	// image or a network is gone. After any error but ErrUnavailable no
	// container was left behind.
	Create(ctx context.Context, c ContainerSpec) (string, error)
	// Start starts a created container; one that runs is left alone.
	Start(ctx context.Context, id string) error
	// Stop sends the container's own stop signal and kills it after its own
	// grace period, both fixed when it was made; it returns when the container
	// has ended. One that does not run is left alone.
	Stop(ctx context.Context, id string) error
	// Recheck makes the engine take up the healthchecks of a container again
	// without stopping it, and lets one go on that is paused. Docker 20.10
	// forgets healthchecks when it is restarted under live containers, and would
	// show their last health for ever.
	Recheck(ctx context.Context, id string) error
	// Check runs a container's own healthcheck in it once, as the engine does,
	// and reports whether it passed. What it answers does not change the health
	// that the engine shows. A container without a healthcheck passes none.
	Check(ctx context.Context, id string) (passed bool, err error)
	// Remove removes a container with its anonymous volumes, killing it when it
	// still runs. ErrNotFound is not reported.
	Remove(ctx context.Context, id string) error
	// Logs calls line for each line the container wrote, in order, until the
	// log ends (with Follow: the container), line returns an error, which Logs
	// then returns, or ctx ends. Lines longer than 16 KiB may come in pieces.
	Logs(ctx context.Context, idOrName string, o LogOptions, line func(LogLine) error) error
}

// Info is what an engine says of itself and its host.
type Info struct {
	Version string
	CPU     int64 // billionths of a core
	Memory  int64 // bytes
}

// Status is what a container is doing.
type Status string

// The states of a container, as the engine knows them.
const (
	StatusCreated  Status = "created" // never started
	StatusRunning  Status = "running"
	StatusPaused   Status = "paused"
	StatusExited   Status = "exited"   // ran and ended
	StatusRemoving Status = "removing" // or dead: about to disappear
)

// Health is what a container's healthcheck says.
type Health string

// The answers of a healthcheck.
const (
	HealthNone      Health = "" // there is no healthcheck
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// Container is a container as the engine showed it.
type Container struct {
	ID     string
	Name   string // without the engine's slash
	Labels map[string]string
	Status Status
	Health Health
	// HealthOutput is what the last failed check wrote; only with HealthUnhealthy.
	HealthOutput string
	// HealthDue is when the healthcheck should have answered next; zero without one.
	HealthDue time.Time
	ExitCode  int
	OOMKilled bool
	Error     string // why the engine could not start it
	StartedAt time.Time
	ImageID   string
	// Networks maps each network it is attached to, by name, to its address
	// there; the address is invalid while it does not run.
	Networks map[string]netip.Addr
	// StopGrace is how long Stop may take before the container is killed.
	StopGrace time.Duration
}

// Image is what a reference stands for.
type Image struct {
	ID string // the image's own id, "sha256:…"
	// Digest is "repository@sha256:…" as the registry knows it, or ID when the
	// image came from no registry.
	Digest string
}

// Network is one bridge network of a deployment.
type Network struct {
	Name     string
	Labels   map[string]string
	Internal bool // no way out of the host
	External bool // it is there already, made by somebody else
}

// Volume is one named volume of a deployment.
type Volume struct {
	Name   string
	Driver string // "": the engine's local one
	Labels map[string]string
	// External says that it is there already, made by somebody else.
	External bool
}

// ContainerSpec is everything that Create needs: the accepted container of a
// service and the names that it gets on this engine. Its environment holds
// decrypted values: it is never printed.
type ContainerSpec struct {
	Name      string
	Labels    map[string]string // JACO's; they win over the user's
	Container desired.Container
	// Networks are in the order of Container.Networks, with the engine's names.
	Networks []desired.Attachment
	// Volumes maps the volumes that Container.Mounts names to the engine's names.
	Volumes map[string]string
	// Secrets are mounted read-only, in the place of Container.Secrets.
	Secrets []SecretMount
}

// EventAction is what happened.
type EventAction string

// The actions that the agent looks at; an engine delivers no other. They are
// Docker's words.
const (
	ActionCreate     EventAction = "create"
	ActionStart      EventAction = "start"
	ActionKill       EventAction = "kill" // a signal was sent through the engine
	ActionStop       EventAction = "stop" // the engine was asked to stop it, and it has ended
	ActionDie        EventAction = "die"
	ActionOOM        EventAction = "oom"
	ActionPause      EventAction = "pause"
	ActionUnpause    EventAction = "unpause"
	ActionRename     EventAction = "rename"
	ActionUpdate     EventAction = "update"
	ActionHealth     EventAction = "health_status"
	ActionDestroy    EventAction = "destroy"
	ActionConnect    EventAction = "connect"    // to a network
	ActionDisconnect EventAction = "disconnect" // from a network
	ActionNetworkEnd EventAction = "network destroy"
)

// Event is one thing that happened on the engine.
type Event struct {
	Action    EventAction
	Container string // id; "" for ActionNetworkEnd
	Replica   string // the container's label; "" with connect and disconnect
	Network   string // name; with connect, disconnect and ActionNetworkEnd
	Signal    int    // with ActionKill
	ExitCode  int    // with ActionDie
	Time      time.Time
}

// LogOptions selects lines.
type LogOptions struct {
	Follow bool
	Since  time.Time // zero: from the start
	Tail   int       // last lines only; 0: all
}

// LogLine is one line that a container wrote.
type LogLine struct {
	Time   time.Time
	Stderr bool
	Text   string // without the line end
}
