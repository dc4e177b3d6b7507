package cluster

import (
	"maps"
	"slices"

	"github.com/jaco-sh/jaco/desired"
)

// Limit is how many replicas of a service one accepted revision lets a leader
// assign at a time. Those that are told to stop or have ended do not count.
type Limit struct {
	// Global services have a replica on each node; Replicas is then the bound
	// of one node.
	Global bool
	// Replicas is the declared number and the surge of an update.
	Replicas int
	// Slot bounds one slot: an old replica beside the one that replaces it.
	Slot int
}

// LimitOf returns the bounds that a service declares. They are those that the
// scheduler keeps: a slot holds one replica and, where updates start first, its
// replacement, and an update replaces as many at a time as it declares, whatever
// it does after failures.
func LimitOf(spec *desired.Service) Limit {
	l := Limit{Global: spec.Mode == desired.Global, Replicas: max(spec.Replicas, 0), Slot: 1}
	if l.Global {
		l.Replicas = 1
	}
	if !startsFirst(spec) {
		return l
	}
	l.Slot = 2
	surge := spec.Update.Parallelism
	if surge <= 0 {
		surge = l.Replicas
	}
	l.Replicas += min(surge, l.Replicas)
	return l
}

// startsFirst reports whether a replacement runs beside the old replica: not
// where a host port or a volume belongs to one at a time.
func startsFirst(spec *desired.Service) bool {
	return spec.Update.Order != desired.StopFirst &&
		!slices.ContainsFunc(spec.Container.Ports, func(p desired.Port) bool { return p.Host != 0 }) &&
		!slices.ContainsFunc(spec.Container.Mounts, func(m desired.Mount) bool { return m.Kind == desired.VolumeMount && m.Volume != "" })
}

// Limits returns the bounds of a service in the accepted revision and in the one
// before, as far as they have it.
func (v *View) Limits(deployment, service string) []Limit {
	var limits []Limit
	for a := v.Deployments[deployment]; a != nil; a = a.Previous {
		if a.Desired == nil {
			continue
		}
		if spec := a.Desired.Service(service); spec != nil {
			limits = append(limits, LimitOf(spec))
		}
	}
	return limits
}

// KnownFrom is the raft index from which on a view holds every revision of a
// deployment that could be assigned. What was assigned at or below it may be of
// an earlier revision, which the view has forgotten.
func (v *View) KnownFrom(deployment string) uint64 {
	a := v.Deployments[deployment]
	if a == nil { // it may have been removed by the last claim
		return v.ClaimIndex
	}
	for a.Previous != nil {
		a = a.Previous
	}
	return a.ClaimIndex
}

// Excess returns the ids of those replicas of one service that are beyond every
// limit of it. They take their places in the order of the list; one that is
// beyond takes none. Wrong holds those of them that no honest plan assigns: they
// are beyond the limits even without the replicas of revisions that the view has
// forgotten, whose limits may have been higher.
func (v *View) Excess(deployment, service string, replicas []Replica) (excess, wrong map[string]bool) {
	limits := v.Limits(deployment, service)
	from := v.KnownFrom(deployment)
	known := slices.DeleteFunc(slices.Clone(replicas), func(r Replica) bool { return r.CreateIndex <= from })
	return beyondAll(limits, replicas), beyondAll(limits, known)
}

// beyondAll returns the ids of the replicas that none of the limits admits.
func beyondAll(limits []Limit, replicas []Replica) map[string]bool {
	if len(limits) == 0 {
		return nil
	}
	beyond := limits[0].beyond(replicas)
	for _, limit := range limits[1:] {
		also := limit.beyond(replicas)
		maps.DeleteFunc(beyond, func(id string, _ bool) bool { return !also[id] })
	}
	return beyond
}

func (l Limit) beyond(replicas []Replica) map[string]bool {
	beyond := map[string]bool{}
	places, slots := map[string]int{}, map[int]int{}
	for i := range replicas {
		r := &replicas[i]
		if r.Stop || r.Phase.Final() {
			continue
		}
		place := ""
		if l.Global {
			place = r.Node
		}
		if places[place] >= l.Replicas || slots[r.Slot] >= l.Slot {
			beyond[r.ID] = true
			continue
		}
		places[place]++
		slots[r.Slot]++
	}
	return beyond
}
