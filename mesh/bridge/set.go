package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Set makes, mends and removes networks as the Config says, and the rules that
// let their traffic pass. It is idempotent and looks at everything each time. An
// error means that nothing is known of any network, as the engine does not
// answer; trouble with single ones is in the Result.
func (b *Bridges) Set(ctx context.Context, config Config) (Result, error) {
	if err := config.validate(); err != nil {
		return Result{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &pass{
		Bridges: b, config: &config,
		result: Result{Ready: make(map[string]string, len(config.Networks))},
		next:   memory{set: true, config: config, ids: map[string]string{}, ports: map[string]port{}},
	}
	if err := p.run(ctx); err != nil {
		return Result{Repaired: p.result.Repaired, Changed: p.result.Changed}, err
	}
	b.last = p.next
	return p.result, nil
}

// pass is one Set.
type pass struct {
	*Bridges
	config  *Config
	version version
	present []network.Network // of the engine, whoever made them
	result  Result
	next    memory
}

func (p *pass) run(ctx context.Context) error {
	if err := p.observe(ctx); err != nil {
		return err
	}
	if err := p.retire(ctx); err != nil {
		return err
	}
	for i := range p.config.Networks {
		n := &p.config.Networks[i]
		reason, err := p.settle(ctx, n)
		if err != nil {
			return err
		}
		p.result.Ready[n.Name] = reason
		p.next.unsettled = p.next.unsettled || reason != ""
	}
	if err := p.letPass(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		p.next.unsettled = true
		for name, reason := range p.result.Ready {
			if reason == "" {
				p.result.Ready[name] = err.Error()
			}
		}
	}
	return nil
}

// observe asks the engine what there is.
func (p *pass) observe(ctx context.Context) error {
	said, err := p.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return fmt.Errorf("the engine does not answer: %w", err)
	}
	p.version = parseVersion(said.Version)
	listed, err := p.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return fmt.Errorf("the engine does not list its networks: %w", err)
	}
	for i := range listed.Items {
		p.present = append(p.present, listed.Items[i].Network)
	}
	return nil
}

// ours reports whether a network is this cluster's.
func (p *pass) ours(n *network.Network) bool { return n.Labels[LabelCluster] == p.config.Cluster }

// retire removes this cluster's networks that are no longer wanted, before their
// addresses are given to others. One that is in use stays for later.
func (p *pass) retire(ctx context.Context) error {
	wanted := map[string]bool{}
	for i := range p.config.Networks {
		wanted[p.config.Networks[i].Name] = true
	}
	for _, n := range slices.Clone(p.present) {
		if wanted[n.Name] || !p.ours(&n) {
			continue
		}
		users, err := p.remove(ctx, &n)
		switch {
		case fatal(ctx, err):
			return fmt.Errorf("remove network %s: %w", n.Name, err)
		case err != nil:
			p.next.unsettled = true
			p.logger.Warn("a network that is no longer wanted stays", "network", n.Name, "error", err)
		case users != "":
			p.next.unsettled = true
			p.logger.Debug("a network that is no longer wanted is in use", "network", n.Name, "containers", users)
		}
	}
	return nil
}

// remove takes a network away, or says which containers use it.
func (p *pass) remove(ctx context.Context, n *network.Network) (users string, err error) {
	_, err = p.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
	switch {
	case err == nil || cerrdefs.IsNotFound(err):
		p.present = slices.DeleteFunc(p.present, func(other network.Network) bool { return other.ID == n.ID })
		p.result.Changed = true
		p.logger.Info("network removed", "network", n.Name, "subnet", subnetsText(n))
		// The engine (20.10) finds its bridge by the link's index, and leaves one that
		// was made in the place of its own.
		if bridge := bridgeOf(n); strings.HasPrefix(bridge, interfacePrefix) {
			if err := clearLink(bridge); err != nil {
				p.logger.Warn("the bridge of a network that was removed stays", "network", n.Name, "error", err)
			}
		}
		return "", nil
	case cerrdefs.IsPermissionDenied(err), cerrdefs.IsConflict(err): // "has active endpoints"
		return p.users(ctx, n), nil
	}
	return "", err
}

// users names the containers that run on a network.
func (p *pass) users(ctx context.Context, n *network.Network) string {
	seen, err := p.api.NetworkInspect(ctx, n.ID, client.NetworkInspectOptions{})
	if err != nil || len(seen.Network.Containers) == 0 {
		return "containers"
	}
	var names []string
	for id, c := range seen.Network.Containers {
		if c.Name == "" {
			c.Name = id[:min(12, len(id))]
		}
		names = append(names, c.Name)
	}
	slices.Sort(names)
	const few = 3
	if more := len(names) - few; more > 0 {
		names = append(names[:few], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// fatal reports whether an error says that the engine is out of reach, or that
// there is no time left.
func fatal(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || client.IsErrConnectionFailed(err) || errors.Is(err, context.DeadlineExceeded))
}

// settle brings one network to what it should be. reason says why it is not.
func (p *pass) settle(ctx context.Context, n *Network) (reason string, err error) {
	found, reason, err := p.find(ctx, n)
	if reason != "" || err != nil {
		return reason, err
	}
	if found == nil {
		return p.create(ctx, n)
	}
	return p.mend(ctx, n, found.ID), nil
}

// find looks for the network, and removes what has its name and is otherwise.
func (p *pass) find(ctx context.Context, n *Network) (found *network.Network, reason string, err error) {
	var named []network.Network
	for _, other := range p.present {
		if other.Name == n.Name {
			named = append(named, other)
		}
	}
	for i := range named {
		other := &named[i]
		if !p.ours(other) {
			return nil, "the engine has a network of that name that is not this cluster's: remove or rename it", nil
		}
		hard, soft := differences(p.version, p.config.MTU, n, other)
		if len(hard)+len(soft) == 0 && found == nil {
			found = other
			continue
		}
		if found != nil { // the engines before 25 allow a name twice
			hard = append(hard, "the name of another one")
		}
		users, err := p.remove(ctx, other)
		switch {
		case fatal(ctx, err):
			return nil, "", fmt.Errorf("replace network %s: %w", n.Name, err)
		case err == nil && users == "":
			p.logger.Info("network is made anew", "network", n.Name, "had", strings.Join(append(hard, soft...), ", "))
		case len(hard) == 0:
			found = other
		case err != nil:
			return nil, fmt.Sprintf("it has %s, and the engine does not remove it: %v", strings.Join(hard, ", "), plain(err)), nil
		default:
			return nil, fmt.Sprintf("it has %s, and is in use by %s: it is made anew when that ends", strings.Join(hard, ", "), users), nil
		}
	}
	return found, "", nil
}

// create makes a network.
func (p *pass) create(ctx context.Context, n *Network) (reason string, err error) {
	if reason := clash(n, p.present); reason != "" {
		return reason, nil
	}
	// What an engine that died has left would be taken over by the next one, and
	// outlive the network.
	if err := clearLink(n.Bridge); err != nil {
		return err.Error(), nil
	}
	options := createOptions(p.version, p.config.MTU, n)
	made, err := p.api.NetworkCreate(ctx, n.Name, options)
	if fatal(ctx, err) {
		return "", fmt.Errorf("make network %s: %w", n.Name, err)
	}
	if err != nil {
		return "the engine does not make it: " + plain(err), nil
	}
	p.result.Changed = true
	if p.last.ids[n.Name] != "" && p.last.knows(n) {
		p.result.Repaired = append(p.result.Repaired, fmt.Sprintf("network %s was gone", n.Name))
	}
	p.logger.Info("network made", "network", n.Name, "bridge", n.Bridge, "subnet", n.Subnet.String())
	p.present = append(p.present, network.Network{
		ID: made.ID, Name: n.Name, Driver: options.Driver, Labels: maps.Clone(n.Labels), Options: options.Options, IPAM: *options.IPAM,
	})
	link, err := readLink(n)
	if err == nil && link.wrong() != "" {
		err = fmt.Errorf("its bridge %s is %s right after it was made", n.Bridge, link.wrong())
	}
	if err != nil {
		return err.Error(), nil
	}
	p.ready(n, made.ID, link.port)
	return "", nil
}

// knows reports whether the last Set was asked for the same network.
func (m *memory) knows(n *Network) bool {
	return slices.ContainsFunc(m.config.Networks, func(other Network) bool {
		return other.Name == n.Name && other.Bridge == n.Bridge && other.Subnet == n.Subnet && other.Gateway == n.Gateway
	})
}

func (p *pass) ready(n *Network, id string, at port) {
	p.next.ids[n.Name], p.next.ports[n.Bridge] = id, at
}

// plain is the engine's answer without the client's words around it.
func plain(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}

// CleanUp removes all networks of a cluster and the rules that were made for
// them. Those that containers use stay, and so do the rules then; the error names
// them. An engine that does not answer is an error: what it has cannot be known.
func (b *Bridges) CleanUp(ctx context.Context, cluster string) error {
	if cluster == "" {
		return errors.New("clean up the engine's networks: no cluster id")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &pass{Bridges: b, config: &Config{Cluster: cluster}}
	if err := p.observe(ctx); err != nil {
		return err
	}
	var errs []error
	for _, n := range slices.Clone(p.present) {
		if !p.ours(&n) {
			continue
		}
		users, err := p.remove(ctx, &n)
		if err == nil && users != "" {
			err = fmt.Errorf("in use by %s", users)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", n.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.last = memory{}
	return b.removeRules(ctx, cluster)
}
