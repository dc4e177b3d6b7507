package desired

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// mounts are the volumes and tmpfs of a service, sorted by target.
func (b *builder) mounts(svc types.ServiceConfig) []Mount {
	var out []Mount
	add := func(m Mount, err error, place ...string) {
		place = append([]string{"services", svc.Name}, place...)
		switch {
		case err != nil:
			b.failf(place, "%s", err)
		case !path.IsAbs(m.Target) || path.Clean(m.Target) == "/":
			b.failf(place, "%s is no absolute path inside the container", quoted(m.Target))
		default:
			m.Target = path.Clean(m.Target)
			if slices.ContainsFunc(out, func(other Mount) bool { return other.Target == m.Target }) {
				b.failf(place, "something is already mounted at %s", quoted(m.Target))
			}
			out = append(out, m)
		}
	}
	for i, v := range svc.Volumes {
		m, err := b.volumeMount(v)
		add(m, err, "volumes", strconv.Itoa(i))
	}
	for i, text := range svc.Tmpfs {
		m, err := parseTmpfs(text)
		add(m, err, "tmpfs", strconv.Itoa(i))
	}
	slices.SortFunc(out, func(a, b Mount) int { return cmp.Compare(a.Target, b.Target) })
	return out
}

func (b *builder) volumeMount(v types.ServiceVolumeConfig) (Mount, error) {
	m := Mount{Target: v.Target, ReadOnly: v.ReadOnly}
	switch v.Type {
	case types.VolumeTypeVolume, "":
		m.Kind = VolumeMount
		m.Volume = v.Source
		if v.Volume != nil {
			m.NoCopy = v.Volume.NoCopy
		}
		if _, ok := b.project.Volumes[v.Source]; v.Source != "" && !ok {
			return m, fmt.Errorf("volume %s is not declared under volumes", quoted(v.Source))
		}
		return m, nil
	case types.VolumeTypeTmpfs:
		m.Kind = TmpfsMount
		if v.Source != "" {
			return m, fmt.Errorf("a tmpfs has no source")
		}
		if v.Tmpfs != nil {
			m.Size, m.FileMode = int64(v.Tmpfs.Size), v.Tmpfs.Mode
		}
		return m, nil
	case types.VolumeTypeBind:
		return m, fmt.Errorf("%s", refused(planned, "a path of the host weakens isolation and needs an `allow` in trust.yaml; use a named volume or put the files into the image"))
	case types.VolumeTypeImage:
		return m, fmt.Errorf("%s", refused(planned, "put the files into the image"))
	}
	return m, fmt.Errorf("%s", refused(notPlanned, quoted(v.Type)+" is neither volume nor tmpfs"))
}

// parseTmpfs reads compose's "target[:size=64m,mode=1770]".
func parseTmpfs(text string) (Mount, error) {
	target, options, _ := strings.Cut(text, ":")
	m := Mount{Kind: TmpfsMount, Target: target}
	if options == "" {
		return m, nil
	}
	for option := range strings.SplitSeq(options, ",") {
		name, v, _ := strings.Cut(option, "=")
		switch name {
		case "size":
			var size types.UnitBytes
			if err := checkBytes(v); err != nil {
				return m, fmt.Errorf("size %s is no number of bytes", quoted(v))
			}
			if err := size.DecodeMapstructure(v); err != nil {
				return m, fmt.Errorf("size %s: %w", quoted(v), err)
			}
			m.Size = int64(size)
		case "mode":
			mode, err := strconv.ParseUint(v, 8, 12)
			if err != nil {
				return m, fmt.Errorf("mode %s is no octal file mode", quoted(v))
			}
			m.FileMode = uint32(mode)
		case "ro":
			m.ReadOnly = true
		case "rw":
		default:
			return m, fmt.Errorf("%s", refused(notPlanned, "option "+quoted(name)+" is none of size, mode, ro, rw"))
		}
	}
	return m, nil
}

// volumes are the definitions of the named volumes that services use.
func (b *builder) volumes(d *Deployment) []Volume {
	used := map[string]bool{}
	for _, s := range d.Services {
		for _, m := range s.Container.Mounts {
			if m.Volume != "" {
				used[m.Volume] = true
			}
		}
	}
	var out []Volume
	for _, name := range sortedKeys(b.project.Volumes) {
		config := b.project.Volumes[name]
		place := []string{"volumes", name}
		b.checkObjectName("volumes", name)
		v := Volume{Name: name, Labels: b.labels(config.Labels, append(place, "labels"))}
		if config.Driver != "" && config.Driver != "local" {
			b.failf(append(place, "driver"), "%s", refused(planned, "a driver other than local "+strings.TrimPrefix(needsAllow, "it ")))
		}
		if wish, ok := config.Extensions["x-jaco-prune"]; ok {
			prune, isBool := wish.(bool)
			if !isBool {
				b.failf(append(place, "x-jaco-prune"), "must be true or false")
			}
			v.Prune = prune
		}
		if used[name] {
			out = append(out, v)
		}
	}
	return out
}
