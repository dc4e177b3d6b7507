package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/signing"
)

// genesisJob is one init on its way to the goroutine that owns the member.
type genesisJob struct {
	request *rpc.InitRequest
	result  *rpc.InitResult // filled in before done
	done    chan error
}

// genesisTimeout bounds the first election and entries of a new cluster.
const genesisTimeout = 30 * time.Second

// The names of sealed items in state.
const (
	sealedAuthority  = "ca-key"
	sealedCredential = "repo-credential"
	sealedUnitSecret = "unit-secret" // what the identities of deployments are derived from
)

// Init implements rpc.Initializer.
func (d *daemon) Init(ctx context.Context, request *rpc.InitRequest) (*rpc.InitResult, error) {
	if m := d.member.Load(); m != nil {
		return nil, fmt.Errorf("this node belongs to cluster %s already", m.info.Cluster)
	}
	job := genesisJob{request: request, result: new(rpc.InitResult), done: make(chan error, 1)}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case d.genesis <- job:
	}
	// Once begun, an init ends by itself, one way or the other.
	if err := <-job.done; err != nil {
		return nil, err
	}
	return job.result, nil
}

// runGenesis makes the cluster and starts its first member. On success the
// member runs, and wait returns what its Run does; on failure nothing is left.
func (d *daemon) runGenesis(ctx context.Context, job genesisJob) (m *member, wait func() error, err error) {
	dataDir := d.config.DataDir
	if err := beginInit(dataDir); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, abandonInit(dataDir))
		}
	}()
	g := &genesis{daemon: d, request: job.request, result: job.result}
	defer func() {
		// No reason to undo what was done.
		if err := g.close(); err != nil {
			d.logger.Warn("cannot close the repository after init", "error", err)
		}
	}()
	if err := g.prepare(ctx); err != nil {
		return nil, nil, err
	}
	if m, err = openMember(ctx, d.config, d.logger, d.clock, g.info, d.control); err != nil {
		return nil, nil, err
	}
	if err := m.consensus.Bootstrap(); err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	runContext, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(runContext) }()
	wait = func() error {
		defer stop()
		return <-ended
	}
	if err := g.propose(runContext, m); err != nil {
		stop()
		return nil, nil, errors.Join(err, wait())
	}
	if err := errors.Join(saveMembership(dataDir, g.info), endInit(dataDir)); err != nil {
		stop()
		return nil, nil, errors.Join(err, wait())
	}
	return m, wait, nil
}

// genesis is what one init gathers.
type genesis struct {
	daemon  *daemon
	request *rpc.InitRequest
	result  *rpc.InitResult

	info      membership
	meta      cluster.Meta
	node      cluster.Node
	authority *identity.Authority
	identity  *identity.Identity
	evidence  []cluster.StoredObject
	// repository is open until the end of init.
	repository *gitsync.Opened
}

func (g *genesis) close() error {
	if g.repository == nil {
		return nil
	}
	return g.repository.Close()
}

// clusterNamePattern is what --cluster may be.
var clusterNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// prepare checks the request and makes everything on disk but the log.
func (g *genesis) prepare(ctx context.Context) error {
	d, request := g.daemon, g.request
	if !clusterNamePattern.MatchString(request.ClusterName) {
		return fmt.Errorf("cluster name %q: want letters, digits, dots, dashes and underscores, at most 63", request.ClusterName)
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("draw a cluster id: %w", err)
	}
	g.info = membership{Cluster: hex.EncodeToString(id[:]), Node: d.config.Name, Address: d.address}
	repo, src, anchor, err := g.openRepository(ctx)
	if err != nil {
		return err
	}
	g.info.Branch = repo.Branch
	trust, err := g.pin(src, anchor)
	if err != nil {
		return err
	}
	if g.authority, err = identity.NewAuthority(g.info.Cluster, d.clock(), rand.Reader); err != nil {
		return err
	}
	if g.identity, err = newIdentityStore(d.config.DataDir, d.clock).Create(g.authority, d.config.Name); err != nil {
		return err
	}
	g.meta = cluster.Meta{ID: g.info.Cluster, Name: request.ClusterName, CA: g.authority.CertificatePEM(), Repo: repo, Anchor: anchor}
	g.node = cluster.Node{
		Name: d.config.Name, Address: d.address, CertificateKey: g.identity.KeyHash(), SealKey: g.identity.Recipient(),
		State: cluster.NodeNotReady, Reason: "starting", Version: version,
	}
	*g.result = rpc.InitResult{ClusterID: g.info.Cluster, Repo: repo.URL, Branch: repo.Branch, Anchor: anchor.String()}
	g.result.Lines = append(trustLines(trust), g.nextSteps()...)
	return nil
}

// openRepository makes the embedded repository, or fetches the one named.
func (g *genesis) openRepository(ctx context.Context) (cluster.Repo, signing.Source, signing.Hash, error) {
	d, request := g.daemon, g.request
	repo := cluster.Repo{URL: request.Repo, Branch: request.Branch, KnownHosts: request.KnownHosts}
	if repo.Branch == "" {
		repo.Branch = "main"
	}
	if request.Repo == "" {
		files, err := firstFiles(request.Signers)
		if err != nil {
			return repo, nil, signing.Hash{}, err
		}
		repo.URL, repo.Owner = filepath.Join(d.config.DataDir, repoDirectory), d.config.Name
		_, err = gitsync.CreateEmbedded(repo.URL, repo.Branch, files, "Pin who may sign", d.clock(), d.config.Group)
		if err != nil {
			return repo, nil, signing.Hash{}, fmt.Errorf("make the embedded repository: %w", err)
		}
	} else if filepath.IsAbs(request.Repo) {
		repo.Owner = d.config.Name
	}
	source := gitsync.Repository{
		URL: repo.URL, Branch: repo.Branch,
		Credentials: gitsync.Credentials{SSHKey: request.SSHKey, Token: request.Token, KnownHosts: request.KnownHosts},
	}
	if err := source.Validate(); err != nil { // its words hide what the URL must not hold
		return repo, nil, signing.Hash{}, err
	}
	opened, err := gitsync.OpenSource(ctx, source, filepath.Join(d.config.DataDir, mirrorDirectory))
	if err != nil {
		return repo, nil, signing.Hash{}, fmt.Errorf("open %s: %w", repo.URL, err)
	}
	g.repository = opened
	anchor, err := chooseAnchor(request, opened)
	return repo, opened, anchor, err
}

// openedSource is what init needs of a repository.
type openedSource interface {
	signing.Source
	Head() signing.Hash
	Contains(head signing.Hash, prefix string) (bool, error)
}

// chooseAnchor takes the tip where that was asked for, else the commit named,
// which must be in the branch's history.
func chooseAnchor(request *rpc.InitRequest, opened openedSource) (signing.Hash, error) {
	head := opened.Head()
	if request.Repo == "" || request.Anchor == "tip" {
		return head, nil
	}
	anchor, err := signing.ParseHash(request.Anchor)
	if err != nil {
		return anchor, fmt.Errorf("anchor: %w; give the full hash, or tip", err)
	}
	found, err := opened.Contains(head, anchor.String())
	if err != nil {
		return anchor, fmt.Errorf("anchor: %w", err)
	}
	if !found {
		return anchor, fmt.Errorf("anchor %s is not in the history of branch %s, whose tip is %s", anchor.Short(), request.Branch, head.Short())
	}
	return anchor, nil
}

// pin writes the trust store and keeps the objects that doing so read: they
// are the evidence that state starts with.
func (g *genesis) pin(src signing.Source, anchor signing.Hash) (*signing.Trust, error) {
	recorder := signing.NewRecorder(src)
	trust, err := verifier.PinAnchor(filepath.Join(g.daemon.config.DataDir, trustDirectory), g.info.Cluster, recorder, anchor)
	if err != nil {
		return nil, err
	}
	for _, id := range recorder.IDs() {
		object, err := src.Object(id)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", id.Short(), err)
		}
		g.evidence = append(g.evidence, cluster.StoredObject{ID: id, Object: object})
	}
	return trust, nil
}

// propose writes the first entries of the log.
func (g *genesis) propose(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, genesisTimeout)
	defer cancel()
	if _, _, err := m.consensus.WaitLeader(ctx); err != nil {
		return fmt.Errorf("wait for the first election: %w", err)
	}
	items, err := g.seal()
	if err != nil {
		return err
	}
	commands := []cluster.Command{&cluster.InitCluster{Meta: g.meta, Node: g.node}}
	for _, chunk := range chunkObjects(g.evidence) {
		commands = append(commands, &cluster.PutObjects{Objects: chunk})
	}
	commands = append(commands, &cluster.PutSealed{Items: items})
	for _, command := range commands {
		if err := m.propose(ctx, command); err != nil {
			return fmt.Errorf("write the first entries: %s: %w", command.Kind(), err)
		}
	}
	return nil
}

// seal encrypts what a later leader needs to this first voter.
func (g *genesis) seal() ([]cluster.SealedItem, error) {
	recipients := map[string]string{g.node.Name: g.node.SealKey}
	key, err := g.authority.KeyPEM()
	if err != nil {
		return nil, err
	}
	item, err := identity.Seal(sealedAuthority, key, recipients)
	if err != nil {
		return nil, err
	}
	items := []cluster.SealedItem{item}
	if item, err = sealUnitSecret(recipients); err != nil {
		return nil, err
	}
	items = append(items, item)
	credential, err := encodeCredential(g.request.SSHKey, g.request.Token)
	if err != nil || credential == nil {
		return items, err
	}
	if item, err = identity.Seal(sealedCredential, credential, recipients); err != nil {
		return nil, err
	}
	return append(items, item), nil
}

// trustLines say what was pinned: nothing is trusted silently.
func trustLines(trust *signing.Trust) []string {
	lines := []string{fmt.Sprintf("Pinned trust.yaml version %d:", trust.Version)}
	for _, signer := range trust.Signers {
		var keys []string
		for _, key := range signer.Keys {
			keys = append(keys, key.Fingerprint+" ("+key.Kind+")")
		}
		lines = append(lines, fmt.Sprintf("  %s: %s", signer.Name, strings.Join(keys, ", ")))
	}
	return lines
}

func (g *genesis) nextSteps() []string {
	if g.request.Repo != "" {
		return []string{"Nothing is deployed yet: the next signed commit on the branch is."}
	}
	return []string{
		"Next: clone the repository, add deployments/NAME/compose.yaml, commit it signed, and push:",
		"  git clone -b " + g.result.Branch + " " + g.result.Repo,
		"Whoever is not root tells git first that root's repository is no trap: git config --global --add safe.directory " + g.result.Repo,
	}
}

// firstFiles are the content of an embedded repository's first commit.
func firstFiles(signers []rpc.Signer) (map[string][]byte, error) {
	if len(signers) == 0 {
		return nil, errors.New("name who may sign: --signer NAME=KEYFILE")
	}
	files := map[string][]byte{}
	keys := map[string][]string{}
	for i, s := range signers {
		suffix := ".pub"
		if strings.Contains(string(s.Key), "-----BEGIN PGP") {
			suffix = ".asc"
		}
		if strings.Contains(string(s.Key), "PRIVATE KEY") {
			return nil, fmt.Errorf("signer %s: this is a private key; give the public one", s.Name)
		}
		path := fmt.Sprintf("keys/%s%s", s.Name, suffix)
		if _, taken := files[path]; taken {
			path = fmt.Sprintf("keys/%s-%d%s", s.Name, i, suffix)
		}
		files[path] = s.Key
		keys[s.Name] = append(keys[s.Name], path)
	}
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	fmt.Fprintf(&b, "# Who may sign what: docs/fleet.md. This file was made by jaco bootstrap init.\nversion: 1\n")
	fmt.Fprintf(&b, "root: {threshold: 1, signers: [%s]}\nsigners:\n", strings.Join(names, ", "))
	for _, name := range names {
		fmt.Fprintf(&b, "  %s: {keys: [%s]}\n", name, strings.Join(keys[name], ", "))
	}
	fmt.Fprintf(&b, "rules:\n  - {paths: [\"deployments/**\"], approvals: 1}\n")
	files["trust.yaml"] = []byte(b.String())
	return files, nil
}
