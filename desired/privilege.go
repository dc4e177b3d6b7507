package desired

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
)

// Options are what the trust policy says about one deployment. The zero value
// allows nothing beyond what is harmless.
type Options struct {
	// Privileges are the entries of `allow` in trust.yaml for this deployment,
	// by the names that Need.Privilege has.
	Privileges []string
	// ImagesPinned is `images: pinned`: no image without a digest.
	ImagesPinned bool
	// Ungated compiles whatever privileges the deployment needs. It is for
	// content that was accepted under an earlier policy, which runs on
	// (Deployment.Gate says whether the present one would take it), and for
	// nothing else.
	Ungated bool
}

// The privileges without a value, and the beginnings of those with one, as
// `allow` in trust.yaml names them.
const (
	PrivilegePrivileged  = "privileged"        // every capability and device
	PrivilegeHostNetwork = "network_mode:host" // the node's own network
	PrivilegeHostPID     = "pid:host"          // sees and signals every process of the node
	PrivilegeHostIPC     = "ipc:host"
	PrivilegeHostUTS     = "uts:host"
	PrivilegeHostUsers   = "userns_mode:host"
	PrivilegeDevices     = "devices"
	PrivilegeSecurityOpt = "security_opt"
	PrivilegeEnvSecrets  = "env-secrets" // secrets as environment, which the engine stores in clear

	privilegeCapability = "cap:"     // and the name, without CAP_
	privilegeBind       = "bind:"    // and the path, exactly
	privilegeVolume     = "volume:"  // and the engine's name
	privilegeNetwork    = "network:" // and the engine's name
)

// unpinnedImage is a need that `images: pinned` alone refuses.
const unpinnedImage = "unpinned-image"

// Need is one privilege that a deployment asks for, and where.
type Need struct {
	// Privilege is its name in `allow` of trust.yaml.
	Privilege string
	File      string // path inside the repository
	Line      int
	Field     string
	Why       string // what it gives away, as a sentence's end
}

const (
	weakens  = "it weakens isolation"
	reaches  = "it reaches beyond the deployment"
	isStored = "the engine stores environment in clear"
)

// Gate says what of a deployment the policy does not allow; nil when it allows
// all. The error is of type Problems.
func (d *Deployment) Gate(o Options) error {
	rep := newReport("deployments/" + d.Name)
	d.gate(o, rep)
	return rep.err()
}

// gate reports what is not allowed.
func (d *Deployment) gate(o Options, rep *report) {
	if o.Ungated {
		return
	}
	for _, n := range d.Needs {
		switch {
		case n.Privilege == unpinnedImage && o.ImagesPinned:
			rep.in(n.File).addf(n.Line, n.Field, "refused: trust.yaml says `images: pinned`, and %s has no digest; write it as NAME:TAG@sha256:…", n.Why)
		case n.Privilege == unpinnedImage, slices.Contains(o.Privileges, n.Privilege):
		default:
			rep.in(n.File).addf(n.Line, n.Field, "refused: %s and needs the privilege %s; root allows it with this entry of `allow` in trust.yaml: %s",
				n.Why, n.Privilege, d.allowEntry(o))
		}
	}
}

// allowEntry is the entry of `allow` in trust.yaml that gives the deployment all
// that it has and needs; there is one entry a deployment.
func (d *Deployment) allowEntry(o Options) string {
	var words []string
	for _, privilege := range o.Privileges {
		words = append(words, yamlWord(privilege))
	}
	for _, n := range d.Needs {
		if n.Privilege != unpinnedImage {
			words = append(words, yamlWord(n.Privilege))
		}
	}
	slices.Sort(words)
	return "- {deployment: " + d.Name + ", privileges: [" + strings.Join(slices.Compact(words), ", ") + "]}"
}

// yamlWord quotes a text that a flow sequence would not take for itself.
func yamlWord(text string) string {
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return strconv.Quote(text)
		}
	}
	return text
}

// need notes a privilege that a place of the compose file asks for.
func (b *builder) need(privilege, why string, steps ...string) {
	at := locate(b.tree, steps)
	b.needs = append(b.needs, Need{Privilege: clean(privilege), File: clean(b.rep.file), Line: at.line, Field: clean(at.name), Why: clean(why)})
}

// isolation reads what a service gives up of its isolation.
func (b *builder) isolation(svc types.ServiceConfig) Isolation {
	at := []string{"services", svc.Name}
	field := func(name string) []string { return append(slices.Clone(at), name) }
	i := Isolation{Privileged: svc.Privileged, CapAdd: b.capAdd(svc), SecurityOpt: b.securityOpt(svc), Devices: b.devices(svc)}
	if i.Privileged {
		b.need(PrivilegePrivileged, weakens, field("privileged")...)
	}
	switch svc.NetworkMode {
	case "":
	case "none":
		i.Network = NoNetwork
	case "host":
		i.Network = HostNetwork
		b.need(PrivilegeHostNetwork, weakens, field("network_mode")...)
		if len(svc.Ports) > 0 {
			b.failf(field("ports"), "a service with network_mode: host listens on the node itself and publishes nothing; remove the ports")
		}
	default:
		b.failf(field("network_mode"), "%s", refused(notPlanned, quoted(svc.NetworkMode)+" is neither host nor none; name networks instead"))
	}
	if i.Network != "" && len(svc.Networks) > 0 {
		b.failf(field("network_mode"), "cannot stand beside networks")
	}
	for _, namespace := range []struct {
		name, value, privilege string
		set                    *bool
	}{
		{"pid", svc.Pid, PrivilegeHostPID, &i.HostPID},
		{"ipc", svc.Ipc, PrivilegeHostIPC, &i.HostIPC},
		{"uts", svc.Uts, PrivilegeHostUTS, &i.HostUTS},
		{"userns_mode", svc.UserNSMode, PrivilegeHostUsers, &i.HostUsers},
	} {
		switch namespace.value {
		case "":
		case "host":
			*namespace.set = true
			b.need(namespace.privilege, weakens, field(namespace.name)...)
		default:
			b.failf(field(namespace.name), "%s", refused(notPlanned, quoted(namespace.value)+" is not host; remove it"))
		}
	}
	return i
}

// dockerCapabilities are what a container has without asking.
var dockerCapabilities = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
	"NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// capAdd are the capabilities that a service adds, by their plain names. Those
// of docker's own set need no privilege: they only undo a cap_drop.
func (b *builder) capAdd(svc types.ServiceConfig) []string {
	var out []string
	for n, text := range svc.CapAdd {
		name := strings.TrimPrefix(strings.ToUpper(text), "CAP_")
		at := []string{"services", svc.Name, "cap_add", strconv.Itoa(n)}
		if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			b.failf(at, "%s is no capability", quoted(text))
			continue
		}
		if !slices.Contains(dockerCapabilities, name) {
			b.need(privilegeCapability+name, weakens, at...)
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// securityOpt are the security options as the engine reads them, "name=value".
func (b *builder) securityOpt(svc types.ServiceConfig) []string {
	var out []string
	for n, text := range svc.SecurityOpt {
		at := []string{"services", svc.Name, "security_opt", strconv.Itoa(n)}
		name, value, _ := strings.Cut(strings.Replace(text, ":", "=", 1), "=")
		switch {
		case name == "no-new-privileges" && (value == "" || value == "true"):
			out = append(out, "no-new-privileges=true") // it takes privileges away
		case name == "no-new-privileges" && value == "false":
		case name == "seccomp" && value != "unconfined":
			b.failf(at, "%s", refused(planned, "a seccomp profile of your own is not read; use the engine's or seccomp=unconfined"))
		case value != "" && (name == "seccomp" || name == "apparmor" || name == "label"):
			b.need(PrivilegeSecurityOpt, weakens, at...)
			out = append(out, name+"="+value)
		default:
			b.failf(at, "%s", refused(notPlanned, quoted(text)+" is none of no-new-privileges, seccomp, apparmor, label"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// devices are the devices of the node that a service uses.
func (b *builder) devices(svc types.ServiceConfig) []Device {
	var out []Device
	for n, d := range svc.Devices {
		at := []string{"services", svc.Name, "devices", strconv.Itoa(n)}
		device := Device{Source: d.Source, Target: d.Target, Permissions: d.Permissions}
		if device.Target == "" {
			device.Target = device.Source
		}
		if device.Permissions == "" {
			device.Permissions = "rwm"
		}
		switch {
		case !cleanAbsolute(device.Source) || !cleanAbsolute(device.Target):
			b.failf(at, "%s is no absolute path of a device", quoted(d.Source))
		case strings.Trim(device.Permissions, "rwm") != "":
			b.failf(at, "permissions %s are not of the letters r, w and m", quoted(d.Permissions))
		default:
			b.need(PrivilegeDevices, weakens, at...)
			out = append(out, device)
		}
	}
	slices.SortFunc(out, func(a, b Device) int { return strings.Compare(a.Target, b.Target) })
	return out
}

// pinned notes an image without a digest.
func (b *builder) pinned(svc types.ServiceConfig) {
	ref, err := reference.ParseNormalizedNamed(svc.Image)
	if err != nil {
		return // reported already
	}
	if _, ok := ref.(reference.Digested); !ok {
		b.need(unpinnedImage, quoted(svc.Image), "services", svc.Name, "image")
	}
}

// sortedNeeds puts needs in the order of problems, each once.
func sortedNeeds(needs []Need) []Need {
	slices.SortFunc(needs, func(a, b Need) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Privilege, b.Privilege))
	})
	return slices.Compact(needs)
}
