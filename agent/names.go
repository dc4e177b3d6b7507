package agent

import (
	"fmt"
	"maps"
	"strconv"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// The labels of everything that JACO makes on an engine. They are how a
// container is found again after a restart; never rename one.
const (
	LabelCluster    = "sh.jaco.cluster"    // Meta.ID
	LabelDeployment = "sh.jaco.deployment" // containers, networks, volumes
	LabelService    = "sh.jaco.service"
	LabelSlot       = "sh.jaco.slot"
	LabelReplica    = "sh.jaco.replica"
	LabelRevision   = "sh.jaco.revision" // that this node accepted and found the spec in
	LabelSpec       = "sh.jaco.spec"     // Service.SpecHash
	LabelNetwork    = "sh.jaco.network"  // networks only: the name in the deployment
	LabelVolume     = "sh.jaco.volume"   // volumes only: the name in the deployment
)

// ContainerName is the name of a replica's container. An engine holds a name
// once, which is what keeps a replica from having two containers.
func ContainerName(r cluster.Replica) string {
	return fmt.Sprintf("jaco_%s_%s_%d_%s", r.Deployment, r.Service, r.Slot, r.ID)
}

// NetworkName is the engine's name of a deployment's network that the file does
// not name otherwise.
func NetworkName(deployment, network string) string {
	return (&desired.Deployment{Name: deployment}).EngineNetwork(network)
}

// containerSpec is what the engine is asked to make for r. The labels name the
// revision that this node accepted, not the one that the assignment claims.
func containerSpec(clusterID string, r cluster.Replica, s *desired.Service, a *cluster.Accepted) ContainerSpec {
	spec := ContainerSpec{
		Name: ContainerName(r),
		Labels: map[string]string{
			LabelCluster:    clusterID,
			LabelDeployment: r.Deployment,
			LabelService:    r.Service,
			LabelSlot:       strconv.Itoa(r.Slot),
			LabelReplica:    r.ID,
			LabelRevision:   a.Revision.String(),
			LabelSpec:       s.SpecHash,
		},
		Container: s.Container,
		Volumes:   map[string]string{},
	}
	for _, at := range s.Container.Networks {
		// The engine's own resolver answers the service's name and the aliases,
		// with the replicas of this node only. The mesh's DNS will answer for
		// all nodes; these aliases go away with it.
		aliases := append([]string{r.Service}, at.Aliases...)
		spec.Networks = append(spec.Networks, desired.Attachment{
			Network: a.Desired.EngineNetwork(at.Network),
			Aliases: aliases,
		})
	}
	for _, m := range s.Container.Mounts {
		if m.Kind == desired.VolumeMount && m.Volume != "" {
			spec.Volumes[m.Volume] = a.Desired.EngineVolume(m.Volume)
		}
	}
	return spec
}

// networksOf are the engine's networks that s attaches to, in its order.
func networksOf(clusterID string, d *desired.Deployment, s *desired.Service) []Network {
	var out []Network
	for _, at := range s.Container.Networks {
		n := Network{Name: d.EngineNetwork(at.Network), Labels: map[string]string{}}
		for _, declared := range d.Networks {
			if declared.Name == at.Network {
				n.Internal, n.External = declared.Internal, declared.External
				maps.Copy(n.Labels, declared.Labels)
			}
		}
		n.Labels[LabelCluster] = clusterID
		n.Labels[LabelDeployment] = d.Name
		n.Labels[LabelNetwork] = at.Network
		out = append(out, n)
	}
	return out
}

// volumesOf are the engine's volumes that s mounts by name.
func volumesOf(clusterID string, d *desired.Deployment, s *desired.Service) []Volume {
	var out []Volume
	for _, m := range s.Container.Mounts {
		if m.Kind != desired.VolumeMount || m.Volume == "" {
			continue
		}
		v := Volume{Name: d.EngineVolume(m.Volume), Labels: map[string]string{}}
		for _, declared := range d.Volumes {
			if declared.Name == m.Volume {
				v.Driver, v.External = declared.Driver, declared.External
				maps.Copy(v.Labels, declared.Labels)
			}
		}
		v.Labels[LabelCluster] = clusterID
		v.Labels[LabelDeployment] = d.Name
		v.Labels[LabelVolume] = m.Volume
		out = append(out, v)
	}
	return out
}
