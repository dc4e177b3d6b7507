package scheduler

import (
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// reasonKind orders what a service may have to say; the first one that it has
// is recorded.
type reasonKind int

const (
	reasonPause reasonKind = iota
	reasonVolume
	reasonUnplaced
	reasonGaveUp
	reasonLimit
	reasonGate
	reasonSilent
	reasonKinds
)

// say notes a reason; of several of one kind the first stands.
func (s *service) say(kind reasonKind, text string) {
	if s.reasons[kind] == "" {
		s.reasons[kind] = text
	}
}

// reason is what is recorded.
func (s *service) reason() string {
	for _, text := range s.reasons {
		if text != "" {
			return text
		}
	}
	return ""
}

// revisionOf is the commit that brought spec, which must be one of the two that
// the service has.
func (s *service) revisionOf(spec *desired.Service) signing.Hash {
	if spec == s.previous {
		return s.accepted.Previous.Revision
	}
	return s.accepted.Revision
}

// gate says which dependency the first replica of a spec waits for, or "". Once
// one was started the gate is behind the service: restarts do not wait, or a
// dependency's hiccup would stop all that hangs on it.
//
// A dependency that is not required is not waited for.
func (p *pass) gate(s *service) string {
	if len(s.spec.DependsOn) == 0 {
		return ""
	}
	for _, r := range s.replicas {
		if r.SpecHash == s.spec.SpecHash {
			return ""
		}
	}
	for _, d := range s.spec.DependsOn {
		if !d.Required {
			continue
		}
		on := p.byKey[cluster.ServiceKey{Deployment: s.key.Deployment, Service: d.Service}]
		if on == nil || on.spec == nil {
			return fmt.Sprintf("waits for %s, which the deployment does not have", d.Service)
		}
		healthy := d.Condition == desired.Healthy
		if p.up(on, healthy) < len(on.slots) {
			if healthy {
				return fmt.Sprintf("waits for %s to be healthy", d.Service)
			}
			return fmt.Sprintf("waits for %s to start", d.Service)
		}
	}
	return ""
}

// up counts the slots that run the present spec, and are healthy if asked.
func (p *pass) up(s *service, healthy bool) int {
	n := 0
	for i := range s.slots {
		sl := &s.slots[i]
		switch {
		case s.completed(sl):
			n++
		case sl.current == nil || !sl.current.Phase.Live() || p.isDown(sl.current.Node):
		case !healthy || s.healthy(sl.current):
			n++
		}
	}
	return n
}
