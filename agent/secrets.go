package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/desired/sops"
)

// Key is the age identity of one unit of the fleet repository.
type Key interface {
	// Recipient is what secrets are encrypted to, for people: "age1…".
	Recipient() string
	// Open decrypts an age file in armor.
	Open(armored string) ([]byte, error)
}

// Keys gives out identities. It is safe for concurrent use.
type Keys interface {
	// Key returns the identity of a deployment that this node runs, or that of
	// "cluster". It may ask other nodes; an error is for now, not for good.
	Key(ctx context.Context, unit string) (Key, error)
}

// clusterUnit is the unit that cluster.yaml is.
const clusterUnit = "cluster"

// SecretFiles keeps decrypted files in memory, where the engine can mount them
// from. It may be used concurrently for different replicas.
type SecretFiles interface {
	// Put replaces the files of a replica and returns their paths. After an error
	// there are none.
	Put(replica string, files []SecretFile) (paths []string, err error)
	// Remove removes the files of a replica; that there are none is no error.
	Remove(replica string) error
	// Replicas lists whose files there are.
	Replicas() ([]string, error)
}

// SecretFile is one decrypted file. It prints as a placeholder.
type SecretFile struct {
	Data     []byte
	UID, GID uint32
	Mode     uint32
}

// String implements fmt.Stringer.
func (SecretFile) String() string { return "(secret)" }

// GoString implements fmt.GoStringer.
func (SecretFile) GoString() string { return "(secret)" }

// SecretMount is a file of this node that a container reads.
type SecretMount struct {
	Source string // on this node
	Target string // in the container
}

// Account is who pulls an image. It prints as its name.
type Account struct {
	Username string
	Password string
}

// String implements fmt.Stringer.
func (a Account) String() string { return a.Username }

// GoString implements fmt.GoStringer.
func (a Account) GoString() string { return a.Username }

// secretKeeper brings the secrets of replicas to where the engine finds them,
// and takes them away again.
type secretKeeper struct {
	keys  Keys
	files SecretFiles

	mu     sync.Mutex      // guards the fields below
	held   map[string]bool // replicas that have files
	listed bool            // held has those of earlier processes too
}

func newSecretKeeper(keys Keys, files SecretFiles) *secretKeeper {
	return &secretKeeper{keys: keys, files: files, held: map[string]bool{}}
}

// provide decrypts what a replica needs into its spec. A *finalError is about
// the files, which no repetition mends; any other error is for now.
func (k *secretKeeper) provide(ctx context.Context, a action, spec *ContainerSpec) error {
	c := &a.service.Container
	if len(c.Secrets)+len(c.SecretEnvironment) == 0 {
		return nil
	}
	key, err := k.keys.Key(ctx, a.replica.Deployment)
	if err != nil {
		return fmt.Errorf("the key to the secrets of %s: %w", a.replica.Deployment, err)
	}
	env := maps.Clone(c.Environment)
	for i := range c.SecretEnvironment {
		if env == nil {
			env = map[string]string{}
		}
		if err := addVariables(env, key, a, &c.SecretEnvironment[i]); err != nil {
			return err
		}
	}
	spec.Container.Environment = env
	if len(c.Secrets) == 0 {
		return nil
	}
	files := make([]SecretFile, len(c.Secrets))
	for i := range c.Secrets {
		s := &c.Secrets[i]
		plain, err := decrypt(key, a, &s.File)
		if err != nil {
			return err
		}
		data, err := plain.Bytes()
		if err != nil {
			return secretError(a, &s.File, err)
		}
		files[i] = SecretFile{Data: data, UID: s.UID, GID: s.GID, Mode: s.Mode}
	}
	return k.put(a.replica.ID, c.Secrets, files, spec)
}

func (k *secretKeeper) put(replica string, secrets []desired.Secret, files []SecretFile, spec *ContainerSpec) error {
	k.mu.Lock()
	k.held[replica] = true
	k.mu.Unlock()
	paths, err := k.files.Put(replica, files)
	if err != nil {
		return err
	}
	for i := range secrets {
		spec.Secrets = append(spec.Secrets, SecretMount{Source: paths[i], Target: secrets[i].Target})
	}
	return nil
}

func addVariables(env map[string]string, key Key, a action, s *desired.SecretEnvironment) error {
	plain, err := decrypt(key, a, &s.File)
	if err != nil {
		return err
	}
	values, err := plain.Variables()
	if err != nil {
		return secretError(a, &s.File, err)
	}
	for _, name := range s.Names {
		env[name] = values[name]
	}
	return nil
}

// decrypt opens one file of the replica's deployment.
func decrypt(key Key, a action, file *desired.EncryptedFile) (*sops.Plaintext, error) {
	parsed, err := sops.Parse(file.Path, []byte(file.Data))
	if err != nil {
		return nil, secretError(a, file, err)
	}
	dataKey, err := unwrap(key, parsed)
	if err != nil {
		return nil, secretError(a, file, fmt.Errorf(
			"%w of deployment %s: whoever can decrypt it runs `sops rotate --in-place --add-age %s %s` and commits the file",
			err, a.replica.Deployment, key.Recipient(), file.Path))
	}
	plain, err := parsed.Decrypt(dataKey)
	if err != nil {
		return nil, secretError(a, file, fmt.Errorf("%w: take it back from git as it was, or encrypt it anew", err))
	}
	return plain, nil
}

// errOtherRecipient is returned for what is encrypted to others alone, as a file
// is that was copied from another deployment.
var errOtherRecipient = errors.New("it is not encrypted to the recipient")

// unwrap finds the data key that is encrypted to this deployment.
func unwrap(key Key, file *sops.File) ([]byte, error) {
	for _, wrapped := range file.WrappedKeys() {
		if wrapped.Recipient != key.Recipient() {
			continue
		}
		// An entry that only says so is one for somebody else.
		if dataKey, err := key.Open(wrapped.Armored); err == nil {
			return dataKey, nil
		}
	}
	return nil, errOtherRecipient
}

// secretError is final: the accepted file is what it is.
func secretError(a action, file *desired.EncryptedFile, err error) error {
	return &finalError{fmt.Errorf("secret %s of %s: %w", file.Path, a.accepted.Revision.Short(), err)}
}

// drop removes the files of a replica that has no container.
func (k *secretKeeper) drop(replica string) error {
	k.mu.Lock()
	held := k.held[replica]
	k.mu.Unlock()
	if !held {
		return nil
	}
	if err := k.files.Remove(replica); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, replica)
	return nil
}

// sweep removes the files of all replicas but those that are wanted, also what
// an earlier process left.
func (k *secretKeeper) sweep(wanted func(replica string) bool) error {
	k.mu.Lock()
	listed := k.listed
	k.mu.Unlock()
	if !listed {
		replicas, err := k.files.Replicas()
		if err != nil {
			return err
		}
		k.mu.Lock()
		for _, r := range replicas {
			k.held[r] = true
		}
		k.listed = true
		k.mu.Unlock()
	}
	k.mu.Lock()
	held := sortedKeys(k.held)
	k.mu.Unlock()
	var errs []error
	for _, r := range held {
		if !wanted(r) {
			errs = append(errs, k.drop(r))
		}
	}
	return errors.Join(errs...)
}

// account finds who pulls an image, by what cluster.yaml says now; nil: nobody
// in particular.
func (k *secretKeeper) account(ctx context.Context, view Views, reference string) (*Account, error) {
	v := view.View()
	if v == nil {
		return nil, nil
	}
	registry := v.Cluster.Registry(reference)
	if registry == nil {
		return nil, nil
	}
	key, err := k.keys.Key(ctx, clusterUnit)
	if err != nil {
		return nil, fmt.Errorf("the key to the password for %s: %w", registry.Prefix, err)
	}
	password, err := key.Open(registry.Password)
	if err != nil {
		return nil, fmt.Errorf("%s: registries.%s.password: %w; encrypt it to %s", desired.ClusterFile, registry.Prefix, err, key.Recipient())
	}
	return &Account{Username: registry.Username, Password: string(password)}, nil
}
