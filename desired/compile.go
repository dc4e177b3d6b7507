package desired

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// OverlayFile is the name of JACO's own file beside a compose file.
const OverlayFile = "jaco.yaml"

// defaultEnvironment is read for ${VAR} when the overlay names no other file
// and it exists, as docker compose does.
const defaultEnvironment = ".env"

// composeFiles are the names of a compose file, in docker compose's order:
// the first one found is read.
func composeFiles() []string {
	return []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
}

// overrideFiles are the files that docker compose merges in and JACO does
// not: they are where what is only for a developer's machine belongs.
func overrideFiles() []string {
	return []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
}

var deploymentName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// CheckName says what is wrong with the name of a deployment's folder: its
// form, or that the command line or the approval tags use it for their own.
func CheckName(name string) error {
	if len(name) > MaxName || !deploymentName.MatchString(name) {
		return fmt.Errorf("%s is no deployment name: lower-case letters, digits and -, at most %d", quoted(name), MaxName)
	}
	switch name {
	case "all", "trust", "cluster", "reanchor":
		return fmt.Errorf("%q is no deployment name: approval tags use it", name)
	case "sync", "nodes", "routes", "certs", "events", "logs", "plan", "recipient", "help":
		return fmt.Errorf("%q is no deployment name: it is a subcommand of jaco status", name)
	}
	return nil
}

// Compile turns the files of one deployment into its desired state. The root
// of fsys is the deployment's folder, prefix is that folder's path inside the
// repository, for messages ("deployments/shop"). The error is of type Problems
// and holds everything that was found, not only the first.
//
// Compile reads nothing but fsys and keeps nothing between calls. It costs
// about a millisecond a service; callers that see the same tree again should
// remember the result by the tree's hash. It allows no privilege.
func Compile(fsys fs.FS, name, prefix string) (*Deployment, error) {
	return CompileWith(fsys, name, prefix, Options{})
}

// CompileWith is Compile with what the trust policy allows the deployment. A
// deployment that compiles is the same whatever the options are.
func CompileWith(fsys fs.FS, name, prefix string, options Options) (*Deployment, error) {
	rep := newReport(prefix)
	if err := CheckName(name); err != nil {
		rep.addf(0, "", "%s", err)
		return nil, rep.err()
	}
	if err := CheckFiles(fsys, ".", prefix); err != nil {
		return nil, err
	}
	c := &compilation{fsys: fsys, name: name, prefix: prefix, rep: rep, expander: &expander{}, envFiles: map[string][]byte{}}
	file := c.findCompose()
	if file == "" {
		return nil, rep.err()
	}
	over := c.readOverlay()
	c.readVariables(over)
	tree := c.readCompose(file)
	if tree == nil {
		return nil, rep.err()
	}
	b := &builder{compilation: c, rep: c.fileReport(file), tree: tree, overlay: over}
	if b.project = load(name, tree, b.rep); b.project == nil {
		return nil, rep.err()
	}
	d := b.deployment()
	d.gate(options, rep)
	if err := rep.err(); err != nil {
		return nil, err
	}
	d.Ignored = rep.sortedNotes()
	return d, nil
}

// compilation is what the steps of one Compile share.
type compilation struct {
	fsys      fs.FS
	name      string
	prefix    string
	rep       *report // for the folder
	expander  *expander
	variables map[string]string // for ${VAR}; the host's are never read
	envFiles  map[string][]byte // contents, as many services may name one file
}

func (c *compilation) fileReport(name string) *report {
	return c.rep.in(path.Join(c.prefix, name))
}

// exists says whether a plain file of that name is in the folder.
func (c *compilation) exists(name string) bool {
	info, err := fs.Stat(c.fsys, name)
	return err == nil && info.Mode().IsRegular()
}

// findCompose returns the compose file's name, or "" after reporting that
// there is none.
func (c *compilation) findCompose() string {
	found := slices.DeleteFunc(composeFiles(), func(name string) bool { return !c.exists(name) })
	if len(found) == 0 {
		c.rep.addf(0, "", "no compose file: one of %s", strings.Join(composeFiles(), ", "))
		return ""
	}
	for _, name := range found[1:] {
		c.fileReport(name).notef(0, "", "ignored: %s is read, as docker compose does", found[0])
	}
	for _, name := range overrideFiles() {
		if c.exists(name) {
			c.fileReport(name).notef(0, "", "ignored: only docker compose reads it")
		}
	}
	return found[0]
}

// readVariables reads the file that ${VAR} takes its values from.
func (c *compilation) readVariables(over *overlay) {
	c.variables = map[string]string{}
	defer c.setProjectName()
	nothing := func(string) (string, bool) { return "", false }
	if over.environment == nil {
		if !c.exists(defaultEnvironment) {
			return
		}
		values, err := c.readEnv(defaultEnvironment, nothing)
		if err != nil {
			c.fileReport(defaultEnvironment).addf(0, "", "%s", readError(err))
			return
		}
		c.variables = values
		return
	}
	rep := c.fileReport(OverlayFile)
	name := over.environment.text
	if !c.local(name, over.environment.line, "environment", rep) {
		return
	}
	values, err := c.readEnv(name, nothing)
	if err != nil {
		rep.addf(over.environment.line, "environment", "%s: %s", quoted(name), readError(err))
		return
	}
	c.variables = values
}

// setProjectName offers the one variable that compose itself defines.
func (c *compilation) setProjectName() {
	c.variables["COMPOSE_PROJECT_NAME"] = c.name
}

// local reports a path that leads out of the folder.
func (c *compilation) local(name string, line int, field string, rep *report) bool {
	if filepath.IsLocal(name) && !strings.ContainsAny(name, "\\\x00") {
		return true
	}
	rep.addf(line, field, "%s", refused(notPlanned, quoted(name)+" is outside of the deployment's folder; copy the file into it"))
	return false
}

// readEnv reads an env file of the folder. What is wrong inside of it is
// reported in its own name; the error is about reading it at all.
func (c *compilation) readEnv(name string, outer lookup) (map[string]string, error) {
	name = path.Clean(filepath.ToSlash(name))
	data, known := c.envFiles[name]
	if !known {
		var err error
		if data, err = readFile(c.fsys, name); err != nil {
			return nil, err
		}
		c.envFiles[name] = data
	}
	rep := c.fileReport(name)
	if err := c.expander.spend(len(data)); err != nil {
		rep.addf(0, "", "%s", err)
		return map[string]string{}, nil
	}
	return parseEnv(data, rep, c.expander, outer), nil
}

// readCompose returns the compose file's tree with everything taken out that
// is not honoured, or nil when there is nothing left to look at.
func (c *compilation) readCompose(file string) *value {
	rep := c.fileReport(file)
	data, err := readFile(c.fsys, file)
	if err != nil {
		rep.addf(0, "", "%s", readError(err))
		return nil
	}
	tree := parseDocument(data, rep)
	if tree == nil {
		return nil
	}
	services := tree.child("services")
	if services == nil || services.shape == mapping && len(services.entries) == 0 {
		rep.addf(locate(tree, []string{"services"}).line, "services", "no services")
		return nil
	}
	if n := len(services.entries); n > MaxServices {
		rep.addf(services.line, "services", "%d services, more than the limit of %d", n, MaxServices)
		return nil
	}
	checkBuilds(services, rep)
	check := &checker{
		table: newFieldTable(), casts: casts(), rep: rep, expander: c.expander,
		find: func(name string) (string, bool) { v, ok := c.variables[name]; return v, ok },
	}
	check.walk(tree, "", "")
	before := len(*rep.problems)
	validate(tree, plainMapping(tree), rep)
	if len(*rep.problems) > before || check.broken {
		return nil
	}
	return tree
}

// checkBuilds refuses services that have nothing but a build: beside an image
// it is ignored like other fields without effect.
func checkBuilds(services *value, rep *report) {
	for _, e := range services.entries {
		build := e.value.get("build")
		if build != nil && e.value.child("image") == nil {
			rep.addf(build.line, join("services."+e.key, "build"), "%s",
				refused(notPlanned, "images are pulled, never built; push the image and name it with `image`"))
		}
	}
}

// builder turns compose-go's model into a Deployment.
type builder struct {
	*compilation
	rep       *report // of the compose file
	tree      *value
	overlay   *overlay
	project   *types.Project
	published []publishedPort
	needs     []Need
}

// failf reports a problem at a place of the compose file.
func (b *builder) failf(steps []string, format string, args ...any) {
	at := locate(b.tree, steps)
	b.rep.addf(at.line, at.name, format, args...)
}

func (b *builder) deployment() *Deployment {
	d := &Deployment{Name: b.name}
	b.overlay.checkServices(b.project, b.fileReport(OverlayFile))
	for _, name := range sortedKeys(b.project.Services) {
		d.Services = append(d.Services, b.service(b.project.Services[name]))
	}
	b.checkCycles(d)
	d.Networks = b.networks(d)
	d.Volumes = b.volumes(d)
	for i := range d.Services {
		d.Services[i].SpecHash = specHash(d, &d.Services[i].Container)
	}
	d.Needs = sortedNeeds(b.needs)
	return d
}

// service builds one service, with the overlay's wishes in the place of
// compose's.
func (b *builder) service(svc types.ServiceConfig) Service {
	b.checkObjectName("services", svc.Name)
	over := b.overlay.service(svc.Name)
	s := Service{Name: svc.Name, Container: b.container(svc, over)}
	s.DependsOn = b.dependencies(svc)
	b.place(&s, svc, over)
	s.Update = b.update(&s, svc)
	s.Restart = b.restart(svc)
	return s
}

var objectName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

// checkObjectName holds the names of services, networks and volumes to what
// container names, host names and labels can carry.
func (b *builder) checkObjectName(section, name string) {
	if len(name) > MaxName || !objectName.MatchString(name) {
		b.failf([]string{section, name}, "not a usable name: letters, digits, . _ and -, at most %d", MaxName)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
