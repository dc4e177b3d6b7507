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
		b.hostPath(svc.Name, i)
		m, err := b.volumeMount(v)
		add(m, err, "volumes", strconv.Itoa(i))
		if err == nil && m.Kind == BindMount {
			b.need(privilegeBind+m.Source, weakens, "services", svc.Name, "volumes", strconv.Itoa(i))
		}
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
		return bindMount(m, v)
	case types.VolumeTypeImage:
		return m, fmt.Errorf("%s", refused(planned, "put the files into the image"))
	}
	return m, fmt.Errorf("%s", refused(notPlanned, quoted(v.Type)+" is none of volume, tmpfs, bind"))
}

// propagations are what mounts below a bind mount can do.
var propagations = []string{"", "private", "rprivate", "shared", "rshared", "slave", "rslave"}

// bindMount reads a mount of a path of the node.
func bindMount(m Mount, v types.ServiceVolumeConfig) (Mount, error) {
	m.Kind, m.Source = BindMount, v.Source
	if !path.IsAbs(v.Source) {
		return m, fmt.Errorf("%s", refused(notPlanned, quoted(v.Source)+" is no absolute path of the node, and files of the repository "+
			"are not on it; use a named volume or put the files into the image"))
	}
	if !cleanAbsolute(v.Source) {
		return m, fmt.Errorf("%s is not written plainly: without `..`, `//` and a slash at the end", quoted(v.Source))
	}
	if bind := v.Bind; bind != nil {
		if bind.SELinux != "" {
			return m, fmt.Errorf("%s", refused(notPlanned, "label the path on the node instead of `z` and `Z`"))
		}
		if !slices.Contains(propagations, bind.Propagation) {
			return m, fmt.Errorf("propagation %s is none of private, shared, slave and their recursive forms", quoted(bind.Propagation))
		}
		m.Propagation = bind.Propagation
	}
	return m, nil
}

// hostPath refuses a wish that compose-go cannot tell from its own default.
func (b *builder) hostPath(service string, i int) {
	v := b.tree.child("services").child(service).child("volumes")
	if v == nil || v.shape != list || i >= len(v.items) {
		return
	}
	if wish := v.items[i].child("bind").child("create_host_path"); wish != nil && wish.scalar == true {
		b.failf([]string{"services", service, "volumes", strconv.Itoa(i), "bind", "create_host_path"}, "%s",
			refused(notPlanned, "nothing is made on a node in silence; make the path on every node where the service may run"))
	}
}

// cleanAbsolute says whether a path of the node is absolute and written in the
// one way that an allow names it.
func cleanAbsolute(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && !strings.ContainsRune(p, 0)
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

// beyond reads name: and external: of a volume or network: its name on the
// engine, "" for one of the deployment's own.
func (b *builder) beyond(section, key, name string, external bool, privilege string) (engine string, isExternal bool) {
	at := []string{section, key, "name"}
	if !b.has(at) {
		at = []string{section, key, "external"}
	}
	switch {
	case name != "":
		engine = name
	case external:
		engine = key
	default:
		return "", false
	}
	if len(engine) > maxEngineName || !objectName.MatchString(engine) {
		b.failf(at, "%s is no name that the engine takes: letters, digits, . _ and -, at most %d", quoted(engine), maxEngineName)
		return "", false
	}
	if !external && strings.HasPrefix(engine, ownNames) {
		b.failf(at, "names that begin with %s are given by JACO; choose another", ownNames)
	}
	for _, field := range []string{"driver", "labels", "internal"} {
		if external && b.has([]string{section, key, field}) {
			b.failf([]string{section, key, field}, "means nothing for an external one, which is there already")
		}
	}
	b.need(privilege+engine, reaches, at...)
	return engine, external
}

// maxEngineName bounds, in bytes, a name: of a volume or network.
const maxEngineName = 200

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
			b.failf(append(place, "driver"), "%s", refused(planned, "a driver other than local reaches beyond the node; remove it"))
		}
		if wish, ok := config.Extensions["x-jaco-prune"]; ok {
			prune, isBool := wish.(bool)
			if !isBool {
				b.failf(append(place, "x-jaco-prune"), "must be true or false")
			}
			v.Prune = prune
		}
		v.Engine, v.External = b.beyond("volumes", name, config.Name, bool(config.External), privilegeVolume)
		if v.External && v.Prune {
			b.failf(append(place, "x-jaco-prune"), "an external volume is never removed; take one of the two away")
		}
		if used[name] {
			out = append(out, v)
		}
	}
	return out
}
