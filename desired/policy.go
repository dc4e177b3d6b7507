package desired

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// defaultMonitor is how long a new replica is watched before it counts as
// good, as in docker stack.
const defaultMonitor = 5 * time.Second

// place fills in mode, replicas and placement: compose's, then what jaco.yaml
// says instead.
func (b *builder) place(s *Service, svc types.ServiceConfig, over *overlayService) {
	at := []string{"services", svc.Name, "deploy"}
	s.Mode, s.Replicas, s.Placement.Strategy = Replicated, 1, Spread
	if deploy := svc.Deploy; deploy != nil {
		b.composePlacement(s, deploy, at)
	}
	if over.placement != nil {
		b.noteBeaten(append(at, "mode"), over.placement.line)
		s.Mode = Replicated
		if strategy := Strategy(over.placement.text); strategy == Strategy(Global) {
			s.Mode = Global
			b.noteBeaten(append(at, "replicas"), over.placement.line)
		} else {
			s.Placement.Strategy = strategy
		}
	}
	if over.hosts != nil {
		s.Placement.Hosts = words(over.hosts)
	}
	if over.replicas != nil {
		b.noteBeaten(append(at, "replicas"), over.replicas.line)
		s.Replicas, _ = over.replicas.scalar.(int)
		if s.Mode == Global {
			b.fileReport(OverlayFile).addf(over.replicas.line, "services",
				"replicas of %s cannot be set: its deploy.mode is global", quoted(svc.Name))
		}
	}
	if s.Mode == Global {
		s.Replicas = 0
	}
	if s.Container.fixedPort() {
		s.Placement.MaxReplicasPerNode = 1
	}
}

func (b *builder) composePlacement(s *Service, deploy *types.DeployConfig, at []string) {
	switch deploy.Mode {
	case "", string(Replicated):
	case string(Global):
		s.Mode = Global
		if deploy.Replicas != nil {
			b.failf(append(at, "replicas"), "cannot be set with mode: global, which runs one on each node")
		}
	case "replicated-job", "global-job":
		b.failf(append(at, "mode"), "%s", refused(planned, "run it by other means until then"))
	default:
		b.failf(append(at, "mode"), "%s is neither replicated nor global", quoted(deploy.Mode))
	}
	if deploy.Replicas != nil {
		s.Replicas = *deploy.Replicas
		if s.Replicas < 0 || s.Replicas > MaxReplicas {
			b.failf(append(at, "replicas"), "must be a whole number from 0 to %d", MaxReplicas)
		}
	}
	if n := deploy.Placement.MaxReplicas; n > MaxReplicas {
		b.failf(append(at, "placement", "max_replicas_per_node"), "must be a whole number from 0 to %d", MaxReplicas)
	} else {
		s.Placement.MaxReplicasPerNode = int(n)
	}
	for i, text := range deploy.Placement.Constraints {
		c, problem := parseConstraint(text)
		if problem != "" {
			b.failf(append(at, "placement", "constraints", strconv.Itoa(i)), "%s", problem)
			continue
		}
		if !slices.Contains(s.Placement.Constraints, c) {
			s.Placement.Constraints = append(s.Placement.Constraints, c)
		}
	}
}

var constraintForm = regexp.MustCompile(`^\s*([A-Za-z0-9._/-]+)\s*(==|!=)\s*(\S+)\s*$`)

// parseConstraint reads "node.labels.zone == eu". Problem is "" when it is
// good.
func parseConstraint(text string) (c Constraint, problem string) {
	m := constraintForm.FindStringSubmatch(text)
	if m == nil {
		return c, quoted(text) + ` is not of the form "node.labels.NAME == VALUE"`
	}
	c = Constraint{Key: m[1], Equal: m[2] == "==", Value: m[3]}
	label, isLabel := strings.CutPrefix(c.Key, "node.labels.")
	switch {
	case isLabel && label != "", c.Key == "node.hostname":
		return c, ""
	case c.Key == "node.platform.os", c.Key == "node.platform.arch":
		return c, refused(planned, "use a node label")
	case c.Key == "node.id", c.Key == "node.role", strings.HasPrefix(c.Key, "engine.labels."):
		return c, refused(notPlanned, quoted(c.Key)+" is docker swarm's; use node.hostname or a node label")
	}
	return c, "unknown constraint " + quoted(c.Key) + ": use node.hostname or node.labels.NAME"
}

func (b *builder) update(s *Service, svc types.ServiceConfig) Update {
	u := Update{Order: StartFirst, Parallelism: 1, Monitor: defaultMonitor, FailureAction: Rollback}
	if s.Container.fixedPort() || s.Container.namedVolume() {
		u.Order = StopFirst
	}
	if svc.Deploy == nil || svc.Deploy.UpdateConfig == nil {
		return u
	}
	at := []string{"services", svc.Name, "deploy", "update_config"}
	config := svc.Deploy.UpdateConfig
	if config.Order != "" {
		u.Order = Order(config.Order)
		if u.Order == StartFirst && s.Container.fixedPort() {
			b.failf(append(at, "order"), "start-first cannot work with a fixed host port, which the old replica still holds; use stop-first")
		}
	}
	if config.Parallelism != nil {
		if *config.Parallelism > MaxReplicas {
			b.failf(append(at, "parallelism"), "must be a whole number from 0 to %d", MaxReplicas)
		} else {
			u.Parallelism = int(*config.Parallelism)
		}
	}
	u.Delay = time.Duration(config.Delay)
	if b.has(append(at, "monitor")) {
		u.Monitor = time.Duration(config.Monitor)
	}
	u.MaxFailureRatio = exact(config.MaxFailureRatio)
	if u.MaxFailureRatio < 0 || u.MaxFailureRatio > 1 {
		b.failf(append(at, "max_failure_ratio"), "must be from 0 to 1")
	}
	switch action := FailureAction(config.FailureAction); action {
	case "":
	case Rollback, Pause, Continue:
		u.FailureAction = action
	default:
		b.failf(append(at, "failure_action"), "%s is none of rollback, pause, continue", quoted(config.FailureAction))
	}
	return u
}

// has says whether a field stands in the compose file.
func (b *builder) has(steps []string) bool {
	return locate(b.tree, steps).found
}

// restart reads deploy.restart_policy, else restart, else compose's swarm
// default, any: a replica that ends is replaced.
func (b *builder) restart(svc types.ServiceConfig) Restart {
	r := b.plainRestart(svc)
	if svc.Deploy == nil || svc.Deploy.RestartPolicy == nil {
		return r
	}
	at := []string{"services", svc.Name, "deploy", "restart_policy"}
	policy := svc.Deploy.RestartPolicy
	r = Restart{Condition: RestartAny}
	switch condition := RestartCondition(policy.Condition); condition {
	case "":
	case RestartAny, RestartOnFailure, RestartNone:
		r.Condition = condition
	default:
		b.failf(append(at, "condition"), "%s is none of any, on-failure, none", quoted(policy.Condition))
	}
	if policy.Delay != nil {
		r.Delay = time.Duration(*policy.Delay)
	}
	if policy.Window != nil {
		r.Window = time.Duration(*policy.Window)
	}
	if policy.MaxAttempts != nil {
		if *policy.MaxAttempts > math.MaxInt32 {
			b.failf(append(at, "max_attempts"), "too many")
		} else {
			r.MaxAttempts = int(*policy.MaxAttempts)
		}
	}
	return r
}

// plainRestart reads compose's restart: no, always, unless-stopped or
// on-failure[:max].
func (b *builder) plainRestart(svc types.ServiceConfig) Restart {
	policy, maximum, hasMaximum := strings.Cut(svc.Restart, ":")
	r := Restart{Condition: RestartAny}
	ok := true
	switch policy {
	case "":
	case types.RestartPolicyAlways, types.RestartPolicyUnlessStopped:
		ok = !hasMaximum
	case types.RestartPolicyNo:
		r.Condition = RestartNone
		ok = !hasMaximum
	case types.RestartPolicyOnFailure:
		r.Condition = RestartOnFailure
		if hasMaximum {
			n, err := strconv.ParseUint(maximum, 10, 31)
			r.MaxAttempts, ok = int(n), err == nil
		}
	default:
		ok = false
	}
	if !ok {
		b.failf([]string{"services", svc.Name, "restart"}, "%s is none of no, always, unless-stopped, on-failure[:max]", quoted(svc.Restart))
	}
	return r
}
