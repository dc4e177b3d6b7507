package desired

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
)

// ownLabels is the prefix of the labels by which replicas are found again.
const ownLabels = "sh.jaco."

// The defaults of a healthcheck with a test of its own, as the engine has them.
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 30 * time.Second
	defaultRetries  = 3
)

// defaultStopGrace is compose's and the engine's.
const defaultStopGrace = 10 * time.Second

func (b *builder) container(svc types.ServiceConfig, over *overlayService) Container {
	place := []string{"services", svc.Name}
	c := Container{
		Image:       b.image(svc),
		Command:     svc.Command,
		Entrypoint:  svc.Entrypoint,
		Labels:      b.labels(svc.Labels, append(place, "labels")),
		User:        svc.User,
		WorkingDir:  svc.WorkingDir,
		Hostname:    svc.Hostname,
		Ports:       b.ports(svc),
		Networks:    b.attachments(svc, over),
		Mounts:      b.mounts(svc),
		Healthcheck: b.healthcheck(svc),
		Resources:   b.resources(svc),
		StopSignal:  svc.StopSignal,
		StopGrace:   defaultStopGrace,
		Init:        svc.Init != nil && *svc.Init,
		ReadOnly:    svc.ReadOnly,
		CapDrop:     slices.Compact(slices.Sorted(slices.Values(svc.CapDrop))),
		Ulimits:     b.ulimits(svc),
		Sysctls:     svc.Sysctls,
		ExtraHosts:  b.extraHosts(svc),
		PullPolicy:  b.pullPolicy(svc),
		ShmSize:     int64(svc.ShmSize),
		Isolation:   b.isolation(svc),
		DNS:         b.resolvers(svc),
		DNSSearch:   b.searchDomains(svc),
	}
	c.Environment, c.SecretEnvironment = b.environment(svc)
	c.Secrets = b.secrets(svc, c.Mounts)
	b.limitSecrets(svc.Name, &c)
	if svc.StopGracePeriod != nil {
		c.StopGrace = time.Duration(*svc.StopGracePeriod)
	}
	if svc.Logging != nil {
		c.Logging = Logging{Driver: svc.Logging.Driver, Options: svc.Logging.Options}
		if c.Logging.Driver == "" && len(c.Logging.Options) > 0 {
			c.Logging.Driver = "json-file"
		}
	}
	return c
}

func (b *builder) image(svc types.ServiceConfig) string {
	place := []string{"services", svc.Name, "image"}
	if svc.Image == "" {
		if b.tree.child("services").child(svc.Name).get("image") != nil || !b.refusedBuild(svc.Name) {
			b.failf(place, "an image is missing")
		}
		return ""
	}
	if _, err := reference.ParseNormalizedNamed(svc.Image); err != nil {
		b.failf(place, "%s is no image reference: %s", quoted(svc.Image), err)
	}
	b.pinned(svc)
	return svc.Image
}

// refusedBuild says whether the missing image was already reported as a build
// that will not happen.
func (b *builder) refusedBuild(service string) bool {
	field := "services." + service + ".build"
	return slices.ContainsFunc(*b.rep.problems, func(p Problem) bool { return p.Field == field })
}

// environment merges env_file and environment as compose does: later files win
// over earlier ones, environment over files. Of encrypted files the names alone
// take part.
func (b *builder) environment(svc types.ServiceConfig) (map[string]string, []SecretEnvironment) {
	own := map[string]string{}
	for name, v := range svc.Environment {
		if v != nil {
			own[name] = *v
		} else if outer, ok := b.variables[name]; ok {
			own[name] = outer
		}
	}
	env, secret := map[string]string{}, secretNames{}
	for i, file := range svc.EnvFiles {
		if isEncrypted(file.Path) {
			for _, name := range secret.add(b.envSecret(svc.Name, i, file)) {
				delete(env, name)
			}
			continue
		}
		for name, v := range b.envFile(svc.Name, i, file, own) {
			env[name] = v
			secret.drop(name)
		}
	}
	for name := range svc.Environment {
		secret.drop(name)
		if v, ok := own[name]; ok {
			env[name] = v
		} else {
			delete(env, name)
		}
	}
	for _, name := range sortedKeys(env) {
		if err := envNameError(name); err != nil {
			b.failf([]string{"services", svc.Name, "environment"}, "%s: %s", quoted(name), err)
		}
	}
	if len(env) == 0 {
		env = nil
	}
	return env, secret.files
}

func (b *builder) envFile(service string, i int, file types.EnvFile, own map[string]string) map[string]string {
	at := locate(b.tree, b.itemSteps(service, "env_file", i))
	if !b.local(file.Path, at.line, at.name, b.rep) {
		return nil
	}
	values, err := b.readEnv(file.Path, func(name string) (string, bool) {
		if v, ok := b.variables[name]; ok {
			return v, true
		}
		v, ok := own[name]
		return v, ok
	})
	if err != nil && (bool(file.Required) || readError(err) != "no such file") {
		b.rep.addf(at.line, at.name, "%s: %s", quoted(file.Path), readError(err))
	}
	return values
}

// labels checks a set of labels and copies it; an empty set is nil.
func (b *builder) labels(labels map[string]string, place []string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	out := make(map[string]string, len(labels))
	for _, name := range sortedKeys(labels) {
		if strings.HasPrefix(name, ownLabels) {
			b.failf(append(slices.Clone(place), name), "refused, not planned: labels that start with %s are JACO's own", ownLabels)
		}
		out[name] = labels[name]
	}
	return out
}

func (b *builder) healthcheck(svc types.ServiceConfig) *Healthcheck {
	check := svc.HealthCheck
	if check == nil {
		return nil
	}
	place := []string{"services", svc.Name, "healthcheck", "test"}
	test := []string(check.Test)
	if check.Disable || len(test) > 0 && test[0] == "NONE" {
		return &Healthcheck{Disable: true}
	}
	h := &Healthcheck{Test: test}
	if len(test) > 0 {
		if test[0] != "CMD" && test[0] != "CMD-SHELL" || len(test) < 2 {
			b.failf(place, "must start with NONE, or with CMD or CMD-SHELL and a command")
		}
		h.Interval, h.Timeout, h.Retries = defaultInterval, defaultTimeout, defaultRetries
	}
	set := func(to *time.Duration, from *types.Duration) {
		if from != nil && *from != 0 {
			*to = time.Duration(*from)
		}
	}
	set(&h.Interval, check.Interval)
	set(&h.Timeout, check.Timeout)
	set(&h.StartPeriod, check.StartPeriod)
	if check.Retries != nil {
		if *check.Retries > math.MaxInt32 {
			b.failf([]string{"services", svc.Name, "healthcheck", "retries"}, "too many")
		} else if *check.Retries > 0 {
			h.Retries = int(*check.Retries)
		}
	}
	return h
}

func (b *builder) resources(svc types.ServiceConfig) Resources {
	var r Resources
	if svc.Deploy == nil {
		return r
	}
	place := []string{"services", svc.Name, "deploy", "resources"}
	if limits := svc.Deploy.Resources.Limits; limits != nil {
		r.CPULimit = billionths(limits.NanoCPUs)
		r.MemoryLimit = int64(limits.MemoryBytes)
		r.PidsLimit = limits.Pids
		if limits.Pids < 0 {
			r.PidsLimit = 0 // -1 is unlimited, as in the engine
		}
	}
	if wish := svc.Deploy.Resources.Reservations; wish != nil {
		r.CPUReservation = billionths(wish.NanoCPUs)
		r.MemoryReservation = int64(wish.MemoryBytes)
	}
	if r.CPULimit > 0 && r.CPUReservation > r.CPULimit {
		b.failf(append(place, "reservations", "cpus"), "more is reserved than the limit allows")
	}
	if r.MemoryLimit > 0 && r.MemoryReservation > r.MemoryLimit {
		b.failf(append(place, "reservations", "memory"), "more is reserved than the limit allows")
	}
	return r
}

// billionths turns compose-go's 32-bit cores into billionths of a core by way
// of the decimal text, so that 0.1 is 100,000,000 and not 100,000,001.
func billionths(cores types.NanoCPUs) int64 {
	return int64(math.Round(exact(float32(cores)) * 1e9))
}

// exact is the 64-bit number with the shortest decimal text of a 32-bit one.
func exact(f float32) float64 {
	wide, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	if err != nil {
		return float64(f)
	}
	return wide
}

func (b *builder) ulimits(svc types.ServiceConfig) []Ulimit {
	var out []Ulimit
	for _, name := range sortedKeys(svc.Ulimits) {
		u := svc.Ulimits[name]
		if u == nil {
			continue
		}
		limit := Ulimit{Name: name, Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 {
			limit.Soft, limit.Hard = int64(u.Single), int64(u.Single)
		}
		if limit.Hard >= 0 && limit.Soft > limit.Hard {
			b.failf([]string{"services", svc.Name, "ulimits", name}, "the soft limit is above the hard one")
		}
		out = append(out, limit)
	}
	return out
}

func (b *builder) extraHosts(svc types.ServiceConfig) []string {
	var out []string
	for _, name := range sortedKeys(svc.ExtraHosts) {
		for _, address := range svc.ExtraHosts[name] {
			place := []string{"services", svc.Name, "extra_hosts", name}
			if _, err := netip.ParseAddr(address); err != nil && address != "host-gateway" {
				b.failf(place, "%s is neither an address nor host-gateway", quoted(address))
			}
			out = append(out, name+":"+address)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (b *builder) pullPolicy(svc types.ServiceConfig) PullPolicy {
	switch svc.PullPolicy {
	case "", types.PullPolicyMissing, types.PullPolicyIfNotPresent:
		return PullMissing
	case types.PullPolicyAlways:
		return PullAlways
	case types.PullPolicyNever:
		return PullNever
	}
	b.failf([]string{"services", svc.Name, "pull_policy"}, "%s", refused(notPlanned,
		fmt.Sprintf("%s is none of always, missing, if_not_present, never", quoted(svc.PullPolicy))))
	return PullMissing
}
