package desired

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/jaco-sh/jaco/desired/sops"
)

// variableName is what an encrypted env file may set.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// What compose gives a secret that says nothing else.
const (
	secretsDirectory  = "/run/secrets"
	defaultSecretMode = 0o444
)

// secrets are the encrypted files that a service mounts, sorted by target.
func (b *builder) secrets(svc types.ServiceConfig, mounts []Mount) []Secret {
	taken := map[string]bool{}
	for _, m := range mounts {
		taken[m.Target] = true
	}
	var out []Secret
	for i, config := range svc.Secrets {
		steps := []string{"services", svc.Name, "secrets", strconv.Itoa(i)}
		s := Secret{Name: config.Source, Target: config.Target, Mode: defaultSecretMode}
		if s.Target == "" {
			s.Target = config.Source
		}
		if !path.IsAbs(s.Target) {
			s.Target = path.Join(secretsDirectory, s.Target)
		}
		s.Target = path.Clean(s.Target)
		s.UID = b.ownerID(config.UID, append(steps, "uid"))
		s.GID = b.ownerID(config.GID, append(steps, "gid"))
		if config.Mode != nil {
			if *config.Mode < 0 || *config.Mode > 0o777 {
				b.failf(append(steps, "mode"), "must be a file mode from 0 to 0777")
			}
			s.Mode = uint32(*config.Mode) & 0o777
		}
		switch {
		case s.Target == "/" || s.Target == secretsDirectory:
			b.failf(append(steps, "target"), "%s is no file inside the container", quoted(config.Target))
		case taken[s.Target]:
			b.failf(append(steps, "target"), "something is already mounted at %s", quoted(s.Target))
		}
		taken[s.Target] = true
		if file, _, ok := b.secretSource(config.Source, steps); ok {
			s.File = file
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Secret) int { return cmp.Compare(a.Target, b.Target) })
	return out
}

// ownerID reads a numeric user or group.
func (b *builder) ownerID(text string, steps []string) uint32 {
	if text == "" {
		return 0
	}
	id, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		b.failf(steps, "%s is no number: who a name belongs to is known inside of the image only", quoted(text))
	}
	return uint32(id)
}

// secretSource finds what a service's secret names.
func (b *builder) secretSource(name string, steps []string) (EncryptedFile, *sops.File, bool) {
	declared, ok := b.project.Secrets[name]
	if !ok {
		b.failf(steps, "secret %s is not declared under secrets", quoted(name))
		return EncryptedFile{}, nil, false
	}
	b.checkObjectName("secrets", name)
	at := locate(b.tree, []string{"secrets", name, "file"})
	if declared.File == "" {
		b.rep.addf(at.line, at.name, "a file is missing")
		return EncryptedFile{}, nil, false
	}
	return b.encrypted(declared.File, at)
}

// isEncrypted says whether a file has the name of an encrypted one.
func isEncrypted(name string) bool {
	_, ok := sops.FormatOf(path.Clean(filepath.ToSlash(name)))
	return ok
}

// encrypted reads an encrypted file of the folder, named at a place of the
// compose file. What stands in it in clear is never used.
func (b *builder) encrypted(name string, at place) (EncryptedFile, *sops.File, bool) {
	none := EncryptedFile{}
	if !b.local(name, at.line, at.name, b.rep) {
		return none, nil, false
	}
	name = path.Clean(filepath.ToSlash(name))
	file := EncryptedFile{Path: path.Join(b.prefix, name)}
	if !isEncrypted(name) {
		b.rep.addf(at.line, at.name, "%s", refused(notPlanned,
			quoted(name)+" has not the name of an encrypted file: rename it to *.sops.env, *.sops.yaml, *.sops.json or *.sops.txt, and encrypt it: "+b.encryptCommand(file.Path)))
		return none, nil, false
	}
	data, known := b.envFiles[name]
	if !known {
		var err error
		if data, err = readFile(b.fsys, name); err != nil {
			b.rep.addf(at.line, at.name, "%s: %s", quoted(name), readError(err))
			return none, nil, false
		}
		b.envFiles[name] = data
	}
	if err := b.expander.spend(len(data)); err != nil { // it counts each time it is named
		b.fileReport(name).addf(0, "", "%s", err)
		return none, nil, false
	}
	parsed, err := sops.Parse(name, data)
	switch {
	case errors.Is(err, sops.ErrNotEncrypted):
		b.fileReport(name).addf(0, "", "%s, so everybody who reads the repository reads it: encrypt it (%s), and change what it holds, which stays in the history",
			err, b.encryptCommand(file.Path))
		return none, nil, false
	case err != nil:
		b.fileReport(name).addf(0, "", "%s", err)
		return none, nil, false
	}
	file.Data = string(data)
	return file, parsed, true
}

// encryptCommand is how a file is encrypted for this deployment.
func (b *builder) encryptCommand(file string) string {
	return fmt.Sprintf(`sops encrypt --in-place --age "$(jaco status recipient %s)" %s`, b.name, file)
}

// envSecret reads an encrypted env file as far as that goes without a key.
func (b *builder) envSecret(service string, i int, config types.EnvFile) SecretEnvironment {
	steps := b.itemSteps(service, "env_file", i)
	at := locate(b.tree, steps)
	var secret SecretEnvironment
	name := path.Clean(filepath.ToSlash(config.Path))
	if filepath.IsLocal(config.Path) && !bool(config.Required) && !b.exists(name) {
		return secret
	}
	b.need(PrivilegeEnvSecrets, isStored, steps...)
	file, parsed, ok := b.encrypted(config.Path, at)
	if !ok {
		return secret
	}
	if parsed.Format() != sops.Dotenv {
		b.rep.addf(at.line, at.name, "%s holds no variables: an encrypted env_file is named *.sops.env", quoted(name))
		return secret
	}
	names := parsed.Keys()
	if len(names) > MaxEntries {
		b.fileReport(name).addf(0, "", "more than the limit of %d variables in one file", MaxEntries)
		return secret
	}
	for _, key := range names {
		if !variableName.MatchString(key) {
			b.fileReport(name).addf(0, "", "%s is no name of a variable", quoted(key))
		}
	}
	slices.Sort(names)
	return SecretEnvironment{File: file, Names: names}
}

// secretNames keeps which variable comes from which encrypted file.
type secretNames struct{ files []SecretEnvironment }

// add takes the variables of a file away from those before, and returns them.
func (s *secretNames) add(file SecretEnvironment) []string {
	names := file.Names
	for _, name := range names {
		s.drop(name)
	}
	if len(names) > 0 {
		s.files = append(s.files, file)
	}
	return names
}

// drop forgets a variable that something else sets. A file without any that is
// left goes too.
func (s *secretNames) drop(name string) {
	if len(s.files) == 0 {
		return
	}
	for i := range s.files {
		if at, found := slices.BinarySearch(s.files[i].Names, name); found {
			s.files[i].Names = slices.Concat(s.files[i].Names[:at], s.files[i].Names[at+1:])
		}
	}
	s.files = slices.DeleteFunc(s.files, func(f SecretEnvironment) bool { return len(f.Names) == 0 })
}

// limitSecrets bounds what a node decrypts for one replica.
func (b *builder) limitSecrets(service string, c *Container) {
	total := 0
	for _, s := range c.Secrets {
		total += len(s.File.Data)
	}
	for _, s := range c.SecretEnvironment {
		total += len(s.File.Data)
	}
	if total > MaxSecretBytes {
		b.failf([]string{"services", service}, "%d bytes of encrypted files, more than the limit of %d a service", total, MaxSecretBytes)
	}
}

// The canonical content of secrets is the ciphertext: a hash of what it says
// would tell whether two secrets are the same.

func secretFieldsOf(s *Secret) (f encodedFields) {
	f.text("name", s.Name)
	f.text("target", s.Target)
	f.number("uid", int64(s.UID))
	f.number("gid", int64(s.GID))
	f.number("mode", int64(s.Mode))
	f.group("file", encryptedFields(&s.File))
	return f
}

func secretEnvironmentFields(s *SecretEnvironment) (f encodedFields) {
	f.texts("names", s.Names)
	f.group("file", encryptedFields(&s.File))
	return f
}

func encryptedFields(e *EncryptedFile) (f encodedFields) {
	digest := sha256.Sum256([]byte(e.Data))
	f.text("path", e.Path)
	f.add("ciphertext", digest[:])
	return f
}

// secretsByName is what the secrets of a container are, for comparison.
func secretsByName(c *Container) map[string]string {
	out := map[string]string{}
	for i := range c.Secrets {
		out[c.Secrets[i].Name] += string(secretFieldsOf(&c.Secrets[i]).encode())
	}
	return out
}

func envFilesByPath(c *Container) map[string]string {
	out := map[string]string{}
	for i := range c.SecretEnvironment {
		s := &c.SecretEnvironment[i]
		out[path.Base(s.File.Path)] += string(secretEnvironmentFields(s).encode())
	}
	return out
}
