package desired

import (
	"net/netip"
	"time"
)

// Deployment is the desired state of one folder below deployments/.
type Deployment struct {
	Name     string
	Services []Service // sorted by name
	Networks []Network // sorted by name; only those that a service uses
	Volumes  []Volume  // sorted by name; only those that a service uses
	// Needs lists the privileges that it asks for, by file and line. What they
	// are for is in the services all the same: Gate decides.
	Needs []Need `json:",omitempty"`
	// Ignored lists the fields that were read and have no effect here, with
	// the reason of docs/compose.md.
	Ignored []Note
}

// Service returns the service of that name, or nil.
func (d *Deployment) Service(name string) *Service {
	for i := range d.Services {
		if d.Services[i].Name == name {
			return &d.Services[i]
		}
	}
	return nil
}

// Note is a remark about one place in a file.
type Note struct {
	File    string // path inside the repository
	Line    int    // from 1; 0 when the place is the whole file
	Field   string // "services.web.tty"
	Message string
}

// Mode says how the number of replicas of a service is found.
type Mode string

// The modes of a service.
const (
	Replicated Mode = "replicated" // as many as Replicas says
	Global     Mode = "global"     // one on each node that passes the filters
)

// Strategy says how replicas are laid out over nodes.
type Strategy string

// The placement strategies of jaco.yaml.
const (
	Spread Strategy = "spread" // as evenly over the nodes as can be
	Pack   Strategy = "pack"   // fill a node before the next
	Hosts  Strategy = "hosts"  // only on the named nodes, spread over them
)

// Service is one service of a deployment with every default made explicit.
type Service struct {
	Name      string
	Mode      Mode
	Replicas  int // with Replicated
	Placement Placement
	// Container is what runs. SpecHash covers it and the definitions of the
	// networks and volumes it uses, and nothing else, so that scaling or
	// moving a service replaces no replica.
	Container Container
	SpecHash  string // 64 hexadecimal digits; filled in by Compile
	Update    Update
	Restart   Restart
	DependsOn []Dependency // sorted by service
}

// Placement is where replicas may go.
type Placement struct {
	Strategy    Strategy
	Hosts       []string // with Hosts, sorted
	Constraints []Constraint
	// MaxReplicasPerNode is 0 for no bound. A service that publishes a fixed
	// host port has 1 here, as no node can hold two of it.
	MaxReplicasPerNode int
}

// Constraint is one line of deploy.placement.constraints.
type Constraint struct {
	// Key is "node.hostname" or "node.labels.<label>".
	Key   string
	Equal bool // == or !=
	Value string
}

// Container is what the engine is asked to run. Its canonical encoding is
// hashed: add fields at the end, with the zero value meaning "as before".
type Container struct {
	Image       string
	Command     []string // nil: the image's
	Entrypoint  []string // nil: the image's
	Environment map[string]string
	Labels      map[string]string // the user's; sh.jaco.* is refused
	User        string
	WorkingDir  string
	Hostname    string
	Ports       []Port
	Networks    []Attachment // sorted by network; at least one without Isolation.Network
	Mounts      []Mount      // sorted by target
	Healthcheck *Healthcheck // nil: the image's own
	Resources   Resources
	StopSignal  string        // "": the image's, else SIGTERM
	StopGrace   time.Duration // default 10 s
	Init        bool
	ReadOnly    bool
	CapDrop     []string
	Ulimits     []Ulimit
	Sysctls     map[string]string
	ExtraHosts  []string // "name:address"
	Logging     Logging
	PullPolicy  PullPolicy
	ShmSize     int64     // bytes; 0: the engine's default
	Isolation   Isolation `json:",omitzero"`
	// Secrets are files that the node decrypts when it makes the container.
	Secrets []Secret `json:",omitempty"` // sorted by target
	// SecretEnvironment are encrypted env files. Their variables are known by
	// name alone; the node adds them when it makes the container.
	SecretEnvironment []SecretEnvironment `json:",omitempty"`
	// DNS are the resolvers that are asked for names that are not the mesh's,
	// instead of the node's own, in the file's order.
	DNS []netip.Addr `json:",omitempty"`
	// DNSSearch are the domains that the container's resolver tries after a name,
	// in the file's order; nil: the node's own. "." alone is none.
	DNSSearch []string `json:",omitempty"`
}

// Isolation is what a container gives up of its isolation. Each field but
// NoNetwork and no-new-privileges needs a privilege.
type Isolation struct {
	Privileged  bool
	CapAdd      []string // without CAP_, sorted
	SecurityOpt []string // "name=value", sorted
	Devices     []Device // sorted by target
	Network     NetworkMode
	HostPID     bool
	HostIPC     bool
	HostUTS     bool
	HostUsers   bool
}

// NetworkMode says what stands in the place of networks.
type NetworkMode string

// The network modes; "" is a container with networks.
const (
	HostNetwork NetworkMode = "host" // the node's own
	NoNetwork   NetworkMode = "none" // the loopback alone
)

// Device is a device of the node.
type Device struct {
	Source      string // path on the node
	Target      string // path in the container
	Permissions string // of the letters r, w and m
}

// EncryptedFile is a file of the deployment's folder, encrypted with SOPS.
type EncryptedFile struct {
	Path string // inside the repository
	Data string // encrypted
}

// Secret is one encrypted file as it is mounted.
type Secret struct {
	Name   string // below secrets:
	File   EncryptedFile
	Target string // absolute
	UID    uint32
	GID    uint32
	Mode   uint32 // default 0444
}

// SecretEnvironment are the variables that come from one encrypted env file.
type SecretEnvironment struct {
	File  EncryptedFile
	Names []string // sorted; those of the file that nothing overrides
}

// Port is one published port.
type Port struct {
	HostIP    string // "": every address
	Host      uint16 // 0: chosen by the engine
	Container uint16
	Protocol  string // "tcp" or "udp"
}

// Attachment joins a container to a network of its deployment.
type Attachment struct {
	Network string
	Aliases []string
}

// MountKind is the kind of a mount.
type MountKind string

// The kinds of mounts.
const (
	VolumeMount MountKind = "volume"
	TmpfsMount  MountKind = "tmpfs"
	BindMount   MountKind = "bind"
)

// Mount is a volume, a tmpfs or a path of the node inside the container.
type Mount struct {
	Kind     MountKind
	Volume   string // the deployment's volume; "" for an anonymous one
	Target   string
	ReadOnly bool
	NoCopy   bool
	Size     int64  // tmpfs, bytes; 0: unlimited
	FileMode uint32 // tmpfs; 0: 1777
	// Source is the path on the node of a bind mount, Propagation how mounts
	// below it are passed on ("" as the engine does: rprivate).
	Source      string `json:",omitempty"`
	Propagation string `json:",omitempty"`
}

// Healthcheck is compose's, with times resolved.
type Healthcheck struct {
	Disable     bool
	Test        []string // ["CMD", …] or ["CMD-SHELL", line]
	Interval    time.Duration
	Timeout     time.Duration
	StartPeriod time.Duration
	Retries     int
}

// Resources are limits and reservations.
type Resources struct {
	CPULimit          int64 // billionths of a core; 0: none
	MemoryLimit       int64 // bytes; 0: none
	PidsLimit         int64 // 0: none
	CPUReservation    int64 // billionths of a core
	MemoryReservation int64 // bytes
}

// Ulimit is one resource limit of the process.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Logging is the engine's log driver; an empty driver means json-file with
// JACO's bounds (10 MiB, 3 files).
type Logging struct {
	Driver  string
	Options map[string]string
}

// PullPolicy says when an image is pulled.
type PullPolicy string

// The pull policies. A missing one is PullMissing.
const (
	PullAlways  PullPolicy = "always"
	PullMissing PullPolicy = "missing"
	PullNever   PullPolicy = "never"
)

// Order says whether the new replica starts before the old one stops.
type Order string

// The orders of a rolling update.
const (
	StartFirst Order = "start-first"
	StopFirst  Order = "stop-first"
)

// Update is deploy.update_config with defaults: start-first (stop-first where
// a host port or a named volume forbids two), 1 at a time, no delay, monitor
// 5 s, max failure ratio 0, failure action rollback.
type Update struct {
	Order           Order
	Parallelism     int // 0: all at once
	Delay           time.Duration
	Monitor         time.Duration
	MaxFailureRatio float64
	FailureAction   FailureAction
}

// FailureAction is what a rollout does when its gate fails.
type FailureAction string

// The failure actions of a rollout.
const (
	Rollback FailureAction = "rollback"
	Pause    FailureAction = "pause"
	Continue FailureAction = "continue"
)

// RestartCondition says when a replica that ended is replaced.
type RestartCondition string

// The restart conditions.
const (
	RestartAny       RestartCondition = "any"
	RestartOnFailure RestartCondition = "on-failure"
	RestartNone      RestartCondition = "none"
)

// Restart is deploy.restart_policy, or restart: as compose maps it.
type Restart struct {
	Condition   RestartCondition // default any
	Delay       time.Duration    // 0: the scheduler's back-off, 1 s doubling to 1 min
	MaxAttempts int              // 0: no bound
	Window      time.Duration    // 0: decide at once
}

// Condition is what a dependency must have reached.
type Condition string

// The conditions of depends_on.
const (
	Started Condition = "service_started"
	Healthy Condition = "service_healthy"
)

// Dependency is one entry of depends_on.
type Dependency struct {
	Service   string
	Condition Condition
	Required  bool
}

// Network is one network of a deployment.
type Network struct {
	Name     string
	Internal bool
	Labels   map[string]string
	// Engine is its name on the engine when the file gives one (name:,
	// external:); "" for one of the deployment's own.
	Engine string `json:",omitempty"`
	// External says that it is there already and is neither made nor removed.
	External bool `json:",omitempty"`
}

// Volume is one named volume of a deployment.
type Volume struct {
	Name   string
	Driver string // "": local
	Labels map[string]string
	// Engine is its name on the engine when the file gives one (name:,
	// external:); "" for one of the deployment's own.
	Engine string `json:",omitempty"`
	// External says that it is there already and is neither made nor removed.
	External bool `json:",omitempty"`
	// Prune allows the volume to be removed once no accepted revision declares
	// it any more (x-jaco-prune: true). Without it a volume is never removed.
	Prune bool
}

// Cluster is cluster.yaml.
type Cluster struct {
	Nodes        map[string]NodeSettings
	SyncInterval time.Duration // 0: the default of 30 s
	// MaxPrune is how many deployments one push may remove without the word of
	// root; 0: one, or a third of them, whichever is more.
	MaxPrune   int
	Registries []Registry `json:",omitempty"` // sorted by prefix
	// Notifications is whom the cluster tells what; nil: nobody.
	Notifications *Notifications `json:",omitempty"`
}

// NodeSettings are the wishes for one node.
type NodeSettings struct {
	Labels map[string]string
	// Availability is what the node is there for; "" is NodeActive.
	Availability NodeAvailability
}

// NodeAvailability says whether a node takes part.
type NodeAvailability string

// The availabilities of a node.
const (
	NodeActive NodeAvailability = "active"
	// NodeRemoved takes the node out of the cluster: its certificate opens
	// nothing any more, and what ran on it is placed elsewhere.
	NodeRemoved NodeAvailability = "removed"
)
