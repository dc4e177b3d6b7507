package desired

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
)

// specDomain separates spec hashes from other hashes and names the encoding.
// It changes only when the encoding itself does, which replaces every replica
// of every cluster.
const specDomain = "jaco-spec-v1"

// specHash is the hash of everything that makes a replica what it is: two
// services with the same hash need no replacement. Replicas, placement,
// update and restart are not part of it.
//
// The canonical encoding is a list of fields in a fixed order, each with its
// name. A field with its zero value is left out, so that a field added later,
// whose zero value means "as before", leaves every existing hash as it is.
// Names and order below must therefore never change.
func specHash(d *Deployment, c *Container) string {
	h := sha256.New()
	h.Write([]byte(specDomain))
	h.Write(specFields(d, c).encode())
	return hex.EncodeToString(h.Sum(nil))
}

// encodedField is one named part of the canonical encoding.
type encodedField struct {
	name string
	data []byte
}

type encodedFields []encodedField

// encode joins fields so that no two different lists give the same bytes.
func (f encodedFields) encode() []byte {
	var out []byte
	for _, field := range f {
		out = appendBytes(out, []byte(field.name))
		out = appendBytes(out, field.data)
	}
	return out
}

func appendBytes(to, data []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(data))), data...)
}

func (f *encodedFields) add(name string, data []byte) {
	*f = append(*f, encodedField{name, data})
}

func (f *encodedFields) text(name, v string) {
	if v != "" {
		f.add(name, []byte(v))
	}
}

func (f *encodedFields) number(name string, v int64) {
	if v != 0 {
		f.add(name, strconv.AppendInt(nil, v, 10))
	}
}

func (f *encodedFields) flag(name string, v bool) {
	if v {
		f.add(name, []byte{1})
	}
}

// texts leaves out a nil list only: an empty command is not the image's.
func (f *encodedFields) texts(name string, v []string) {
	if v == nil {
		return
	}
	data := []byte{}
	for _, s := range v {
		data = appendBytes(data, []byte(s))
	}
	f.add(name, data)
}

func (f *encodedFields) pairs(name string, v map[string]string) {
	if len(v) == 0 {
		return
	}
	var data []byte
	for _, key := range sortedKeys(v) {
		data = appendBytes(data, []byte(key))
		data = appendBytes(data, []byte(v[key]))
	}
	f.add(name, data)
}

// group adds a struct; one that is all zero is left out.
func (f *encodedFields) group(name string, v encodedFields) {
	if len(v) > 0 {
		f.add(name, v.encode())
	}
}

// groups adds a list of structs.
func (f *encodedFields) groups(name string, v []encodedFields) {
	if len(v) == 0 {
		return
	}
	var data []byte
	for _, item := range v {
		data = appendBytes(data, item.encode())
	}
	f.add(name, data)
}

func each[T any](items []T, encode func(*T) encodedFields) []encodedFields {
	out := make([]encodedFields, len(items))
	for i := range items {
		out[i] = encode(&items[i])
	}
	return out
}

// specFields is the canonical content of a replica's spec. Add at the end.
func specFields(d *Deployment, c *Container) encodedFields {
	var f encodedFields
	f.text("image", c.Image)
	f.texts("command", c.Command)
	f.texts("entrypoint", c.Entrypoint)
	f.pairs("environment", c.Environment)
	f.pairs("labels", c.Labels)
	f.text("user", c.User)
	f.text("working_dir", c.WorkingDir)
	f.text("hostname", c.Hostname)
	f.groups("ports", each(c.Ports, portFields))
	f.groups("networks", each(c.Networks, attachmentFields))
	f.groups("mounts", each(c.Mounts, mountFields))
	if c.Healthcheck != nil {
		f.add("healthcheck", healthcheckFields(c.Healthcheck).encode())
	}
	f.group("resources", resourceFields(&c.Resources))
	f.text("stop_signal", c.StopSignal)
	f.number("stop_grace_period", int64(c.StopGrace))
	f.flag("init", c.Init)
	f.flag("read_only", c.ReadOnly)
	f.texts("cap_drop", c.CapDrop)
	f.groups("ulimits", each(c.Ulimits, ulimitFields))
	f.pairs("sysctls", c.Sysctls)
	f.texts("extra_hosts", c.ExtraHosts)
	f.group("logging", loggingFields(&c.Logging))
	f.text("pull_policy", string(c.PullPolicy))
	f.number("shm_size", c.ShmSize)
	f.groups("network_definitions", networkDefinitions(d, c))
	f.groups("volume_definitions", volumeDefinitions(d, c))
	f.group("isolation", isolationFieldsOf(&c.Isolation))
	f.groups("secrets", each(c.Secrets, secretFieldsOf))
	f.groups("secret_environment", each(c.SecretEnvironment, secretEnvironmentFields))
	f.texts("dns", addressTexts(c.DNS))
	f.texts("dns_search", c.DNSSearch)
	return f
}

// addressTexts are addresses in their canonical form; nil without any, which is
// how specs were encoded before they could have some.
func addressTexts(addresses []netip.Addr) []string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}

// isolationFieldsOf is part of the canonical encoding.
func isolationFieldsOf(i *Isolation) (f encodedFields) {
	f.flag("privileged", i.Privileged)
	f.texts("cap_add", i.CapAdd)
	f.texts("security_opt", i.SecurityOpt)
	f.groups("devices", each(i.Devices, deviceFields))
	f.text("network_mode", string(i.Network))
	f.flag("pid", i.HostPID)
	f.flag("ipc", i.HostIPC)
	f.flag("uts", i.HostUTS)
	f.flag("userns_mode", i.HostUsers)
	return f
}

func deviceFields(d *Device) (f encodedFields) {
	f.text("source", d.Source)
	f.text("target", d.Target)
	f.text("permissions", d.Permissions)
	return f
}

func portFields(p *Port) (f encodedFields) {
	f.text("host_ip", p.HostIP)
	f.number("host", int64(p.Host))
	f.number("container", int64(p.Container))
	f.text("protocol", p.Protocol)
	return f
}

func attachmentFields(a *Attachment) (f encodedFields) {
	f.text("network", a.Network)
	f.texts("aliases", a.Aliases)
	return f
}

func mountFields(m *Mount) (f encodedFields) {
	f.text("kind", string(m.Kind))
	f.text("volume", m.Volume)
	f.text("target", m.Target)
	f.flag("read_only", m.ReadOnly)
	f.flag("nocopy", m.NoCopy)
	f.number("size", m.Size)
	f.number("mode", int64(m.FileMode))
	f.text("source", m.Source)
	f.text("propagation", m.Propagation)
	return f
}

func healthcheckFields(h *Healthcheck) (f encodedFields) {
	f.flag("disable", h.Disable)
	f.texts("test", h.Test)
	f.number("interval", int64(h.Interval))
	f.number("timeout", int64(h.Timeout))
	f.number("start_period", int64(h.StartPeriod))
	f.number("retries", int64(h.Retries))
	return f
}

func resourceFields(r *Resources) (f encodedFields) {
	f.number("cpu_limit", r.CPULimit)
	f.number("memory_limit", r.MemoryLimit)
	f.number("pids_limit", r.PidsLimit)
	f.number("cpu_reservation", r.CPUReservation)
	f.number("memory_reservation", r.MemoryReservation)
	return f
}

func ulimitFields(u *Ulimit) (f encodedFields) {
	f.text("name", u.Name)
	f.number("soft", u.Soft)
	f.number("hard", u.Hard)
	return f
}

func loggingFields(l *Logging) (f encodedFields) {
	f.text("driver", l.Driver)
	f.pairs("options", l.Options)
	return f
}

// networkDefinitions are what the networks of a container are beyond their
// name: a network that becomes internal must be left and joined again.
func networkDefinitions(d *Deployment, c *Container) []encodedFields {
	var out []encodedFields
	for _, a := range c.Networks {
		for _, n := range d.Networks {
			if n.Name != a.Network || !n.Internal && len(n.Labels) == 0 && n.Engine == "" {
				continue
			}
			var f encodedFields
			f.text("name", n.Name)
			f.flag("internal", n.Internal)
			f.pairs("labels", n.Labels)
			f.text("engine", n.Engine)
			f.flag("external", n.External)
			out = append(out, f)
		}
	}
	return out
}

// volumeDefinitions are the drivers of a container's volumes. Labels and
// pruning change nothing for a container that uses the volume.
func volumeDefinitions(d *Deployment, c *Container) []encodedFields {
	var out []encodedFields
	for _, m := range c.Mounts {
		for _, v := range d.Volumes {
			if v.Name != m.Volume || v.Driver == "" && v.Engine == "" {
				continue
			}
			var f encodedFields
			f.text("name", v.Name)
			f.text("driver", v.Driver)
			f.text("engine", v.Engine)
			f.flag("external", v.External)
			out = append(out, f)
		}
	}
	return out
}

// changedFields names the fields in which two specs differ.
func changedFields(a, b encodedFields) []string {
	data := map[string][2][]byte{}
	var order []string
	for i, fields := range []encodedFields{a, b} {
		for _, f := range fields {
			pair, seen := data[f.name]
			if !seen {
				order = append(order, f.name)
			}
			// Present and empty differs from absent.
			pair[i] = append([]byte{1}, f.data...)
			data[f.name] = pair
		}
	}
	var out []string
	for _, name := range order {
		if pair := data[name]; !bytes.Equal(pair[0], pair[1]) {
			out = append(out, name)
		}
	}
	return out
}
