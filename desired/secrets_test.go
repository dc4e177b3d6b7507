package desired

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// sealedFile is an encrypted file that SOPS itself wrote.
func sealedFile(t *testing.T, fixture string) string {
	t.Helper()
	data, err := os.ReadFile("sops/testdata/" + fixture)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// secretFolder is a deployment's folder with encrypted files of each kind.
func secretFolder(t *testing.T, text string, more ...string) fstest.MapFS {
	t.Helper()
	return files(append([]string{
		"compose.yaml", text,
		"db.sops.env", sealedFile(t, "good/dotenv/db.sops.env"),
		"two.sops.env", sealedFile(t, "good/two-recipients/db.sops.env"),
		"all.sops.yaml", sealedFile(t, "good/yaml/all.sops.yaml"),
		"token.sops.txt", sealedFile(t, "good/binary/token.sops.txt"),
		"plain.env", "PASSWORD=of nothing\nPORT=1\nMORE=2\n",
	}, more...)...)
}

func TestSecrets(t *testing.T) {
	d, err := Compile(secretFolder(t, `services:
  web:
    image: web:1
    secrets:
      - token
      - {source: all, target: config/all.yaml, uid: "1001", gid: "1002", mode: 0400}
      - {source: all, target: /etc/all.yaml}
secrets:
  token: {file: ./token.sops.txt}
  all: {file: all.sops.yaml}
`), "shop", "deployments/shop")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range d.Services[0].Container.Secrets {
		got = append(got, strings.Join([]string{s.Name, s.File.Path, s.Target}, " "))
		if len(s.File.Data) == 0 {
			t.Errorf("%s has no content", s.Name)
		}
	}
	want := []string{
		"all deployments/shop/all.sops.yaml /etc/all.yaml",
		"all deployments/shop/all.sops.yaml /run/secrets/config/all.yaml",
		"token deployments/shop/token.sops.txt /run/secrets/token",
	}
	if !slices.Equal(got, want) {
		t.Errorf("secrets:\n%s", strings.Join(got, "\n"))
	}
	long, short := d.Services[0].Container.Secrets[1], d.Services[0].Container.Secrets[2]
	if long.UID != 1001 || long.GID != 1002 || long.Mode != 0o400 || short.UID != 0 || short.GID != 0 || short.Mode != 0o444 {
		t.Errorf("owners and modes: %+v %+v", long, short)
	}
}

// TestSecretEnvironment has encrypted env files between plain ones: who wins is
// settled by name, and nothing of an encrypted file is in the environment.
func TestSecretEnvironment(t *testing.T) {
	allowed := Options{Privileges: []string{PrivilegeEnvSecrets}}
	compile := func(service string) Container {
		t.Helper()
		d, err := CompileWith(secretFolder(t, "services:\n  web:\n    image: web:1\n"+service), "shop", "deployments/shop", allowed)
		if err != nil {
			t.Fatal(err)
		}
		return d.Services[0].Container
	}
	all := []string{"DOLLAR", "EMPTY", "LINES", "NAME_unencrypted", "PASSWORD", "PORT", "QUOTED", "UNICODE", "URL"}
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return slices.Contains(names, n) })
	}
	const file = "deployments/shop/db.sops.env"
	for name, test := range map[string]struct {
		service string
		plain   map[string]string
		secret  map[string][]string
	}{
		"alone":             {"    env_file: db.sops.env\n", nil, map[string][]string{file: all}},
		"over a plain one":  {"    env_file: [plain.env, db.sops.env]\n", map[string]string{"MORE": "2"}, map[string][]string{file: all}},
		"under a plain one": {"    env_file: [db.sops.env, plain.env]\n", map[string]string{"PASSWORD": "of nothing", "PORT": "1", "MORE": "2"}, map[string][]string{file: without("PASSWORD", "PORT")}},
		"under environment": {"    env_file: [db.sops.env]\n    environment: {PORT: 80}\n", map[string]string{"PORT": "80"}, map[string][]string{file: without("PORT")}},
		"unset":             {"    env_file: [db.sops.env]\n    environment: [PORT]\n", nil, map[string][]string{file: without("PORT")}},
		"under another":     {"    env_file: [db.sops.env, two.sops.env]\n", nil, map[string][]string{file: without("PASSWORD"), "deployments/shop/two.sops.env": {"PASSWORD"}}},
		"wholly under":      {"    env_file: [two.sops.env, plain.env]\n", map[string]string{"PASSWORD": "of nothing", "PORT": "1", "MORE": "2"}, map[string][]string{}},
		"none, but allowed": {"    env_file: [{path: none.sops.env, required: false}]\n", nil, map[string][]string{}},
	} {
		c := compile(test.service)
		secret := map[string][]string{}
		for _, s := range c.SecretEnvironment {
			secret[s.File.Path] = s.Names
		}
		if diff := cmp.Diff(test.plain, c.Environment) + cmp.Diff(test.secret, secret); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSecretsRoll holds that a service is replaced when an encrypted file is
// another, though it may say the same.
func TestSecretsRoll(t *testing.T) {
	const text = "services:\n  web:\n    image: web:1\n    secrets: [db]\n  other:\n    image: web:1\nsecrets:\n  db: {file: db.sops.env}\n"
	compile := func(fixture string) *Deployment {
		d, err := Compile(secretFolder(t, text, "db.sops.env", sealedFile(t, fixture)), "shop", "deployments/shop")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, two := compile("good/rotated/db.sops.env"), compile("good/two-recipients/db.sops.env")
	if one.Service("web").SpecHash == two.Service("web").SpecHash || one.Service("other").SpecHash != two.Service("other").SpecHash {
		t.Error("the spec hash does not follow the ciphertext of the service's own files")
	}
	changes := Diff(one, two)
	if len(changes) != 1 || changes[0].Kind != Replaced || !slices.Equal(changes[0].Fields, []string{"secrets.db"}) {
		t.Errorf("changes: %+v", changes)
	}
}

// TestSecretsAreRefused holds each mistake, with its place and what to do.
func TestSecretsAreRefused(t *testing.T) {
	const head = "services:\n  web:\n    image: web:1\n"
	for name, test := range map[string]struct {
		text  string
		parts []string
	}{
		"not declared": {head + "    secrets: [db]\n", []string{"compose.yaml:4: services.web.secrets[0]: secret \"db\" is not declared under secrets"}},
		"in clear": {head + "    secrets: [db]\nsecrets:\n  db: {file: clear.sops.env}\n", []string{
			"deployments/shop/clear.sops.env: it is not encrypted with SOPS, so everybody who reads the repository reads it",
			`sops encrypt --in-place --age "$(jaco status recipient shop)" deployments/shop/clear.sops.env`, "stays in the history",
		}},
		"a plain name":   {head + "    secrets: [db]\nsecrets:\n  db: {file: plain.env}\n", []string{"compose.yaml:6: secrets.db.file: refused", "rename it to *.sops.env"}},
		"no such file":   {head + "    secrets: [db]\nsecrets:\n  db: {file: none.sops.env}\n", []string{"compose.yaml:6: secrets.db.file: \"none.sops.env\": no such file"}},
		"outside":        {head + "    secrets: [db]\nsecrets:\n  db: {file: ../blog/db.sops.env}\n", []string{"outside of the deployment's folder"}},
		"absolute":       {head + "    secrets: [db]\nsecrets:\n  db: {file: /etc/db.sops.env}\n", []string{"outside of the deployment's folder"}},
		"no file":        {head + "    secrets: [db]\nsecrets:\n  db: {}\n", []string{"secrets.db"}},
		"of the host":    {head + "    secrets: [db]\nsecrets:\n  db: {environment: HOME}\n", []string{"secrets.db.environment: refused, not planned"}},
		"of others":      {head + "    secrets: [db]\nsecrets:\n  db: {external: true}\n", []string{"secrets.db.external: refused, not planned"}},
		"unknown field":  {head + "    secrets: [db]\nsecrets:\n  db: {file: db.sops.env, fil: x}\n", []string{"secrets.db.fil: unknown field"}},
		"a named owner":  {head + "    secrets: [{source: db, uid: root}]\nsecrets:\n  db: {file: db.sops.env}\n", []string{"services.web.secrets[0].uid: \"root\" is no number"}},
		"a strange mode": {head + "    secrets: [{source: db, mode: 04755}]\nsecrets:\n  db: {file: db.sops.env}\n", []string{"services.web.secrets[0].mode: must be a file mode"}},
		"a target twice": {head + "    secrets: [db, {source: db, target: ./db}]\nsecrets:\n  db: {file: db.sops.env}\n", []string{"something is already mounted at \"/run/secrets/db\""}},
		"on a volume": {head + "    tmpfs: [/run/secrets/db]\n    secrets: [db]\nsecrets:\n  db: {file: db.sops.env}\n", []string{
			"something is already mounted at \"/run/secrets/db\"",
		}},
		"the root":         {head + "    secrets: [{source: db, target: /}]\nsecrets:\n  db: {file: db.sops.env}\n", []string{"is no file inside the container"}},
		"variables":        {head + "    env_file: [all.sops.yaml]\n", []string{"\"all.sops.yaml\" holds no variables: an encrypted env_file is named *.sops.env"}},
		"another name":     {head + "    env_file: [hidden.env]\n", []string{"hidden.env: encrypted with SOPS, and its values would end up in clear here"}},
		"env not allowed":  {head + "    env_file: [db.sops.env]\n", []string{"compose.yaml:4: services.web.env_file[0]: refused: the engine stores environment in clear"}},
		"a name of spaces": {head + "    env_file: [spaces.sops.env]\n", []string{"spaces.sops.env: \"export NAME_unencrypted\" is no name of a variable"}},
		"too much in all": {"services:\n" + manyServices(5) + "secrets:\n  db: {file: big.sops.txt}\n", []string{
			"big.sops.txt: all values together expand to more than the limit of 16777216 bytes",
		}},
		"too much": {head + "    secrets:" + manySecrets(900) + "secrets:\n  db: {file: big.sops.txt}\n", []string{
			"services.web: ", "bytes of encrypted files, more than the limit of 4194304 a service",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			env := sealedFile(t, "good/dotenv/db.sops.env")
			_, err := Compile(secretFolder(t, test.text,
				"clear.sops.env", "PASSWORD=correct horse\n", "hidden.env", env,
				"spaces.sops.env", strings.Replace(env, "NAME_unencrypted", "export NAME_unencrypted", 1),
				"big.sops.txt", sealedFile(t, "good/binary/token.sops.txt")+strings.Repeat("\n", 10_000),
			), "shop", "deployments/shop")
			wantProblem(t, err, test.parts...)
			if strings.Contains(err.Error(), "horse") {
				t.Errorf("a secret is repeated: %v", err)
			}
		})
	}
}

// manySecrets mounts one secret many times.
func manySecrets(n int) string {
	var b strings.Builder
	b.WriteString("\n")
	for i := range n {
		b.WriteString("      - {source: db, target: t" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + strings.Repeat("y", i/50) + "}\n")
	}
	return b.String()
}

// manyServices are services with as many secrets as one may have.
func manyServices(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("  s" + string(rune('a'+i)) + ":\n    image: web:1\n    secrets:" + manySecrets(380))
	}
	return b.String()
}

func TestRegistries(t *testing.T) {
	const sealed = "-----BEGIN AGE ENCRYPTED FILE-----\n      YWdl\n      -----END AGE ENCRYPTED FILE-----\n"
	entry := func(prefix, user string) string {
		return "  " + prefix + ":\n    username: " + user + "\n    password: |\n      " + sealed
	}
	c, err := ParseCluster([]byte("registries:\n" + entry("registry.example.com", "all") + entry("registry.example.com/team", "team") +
		entry("10.0.0.1:5000", "local") + entry("docker.io", "hub") + entry("localhost/x", "me")))
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"registry.example.com/web:1": "all", "registry.example.com/team/web@sha256:" + strings.Repeat("a", 64): "team",
		"registry.example.com/team": "team", "registry.example.com/teams/web": "all", "registry.example.com.evil.org/web": "",
		"10.0.0.1:5000/a/b/c": "local", "10.0.0.1:5001/a": "", "nginx": "hub", "acme/web:1": "hub", "localhost/x/y": "me", "localhost/xy": "", "Not:A:Reference": "",
	} {
		got := ""
		if r := c.Registry(image); r != nil {
			got = r.Username
		}
		if got != want {
			t.Errorf("%s is pulled by %q, want %q", image, got, want)
		}
	}
	for name, test := range map[string]struct{ text, want string }{
		"in clear":        {"registries:\n  registry.example.com: {username: x, password: correct horse}\n", "cluster.yaml:2: registries.registry.example.com.password: must be an age file in armor"},
		"a number":        {"registries:\n  registry.example.com: {username: x, password: 12345}\n", "must be an age file in armor"},
		"no password":     {"registries:\n  registry.example.com: {username: x}\n", "registries.registry.example.com.password: is missing"},
		"no user":         {"registries:\n  registry.example.com: {password: x}\n", "registries.registry.example.com.username: is missing"},
		"a bad user":      {"registries:\n" + entry("registry.example.com", `"a:b"`), "must be a name without spaces and colons"},
		"Hub's own names": {"registries:\n" + entry("acme", "x"), "not the start of an image's name"},
		"a tag":           {"registries:\n" + entry("registry.example.com/web:1", "x"), "not the start of an image's name"},
		"an address":      {"registries:\n" + entry("https://registry.example.com", "x"), "cluster.yaml"},
		"a list":          {"registries: []\n", "must be a mapping of prefixes"},
		"an unknown key":  {"registries:\n  registry.example.com: {username: x, pass: y}\n", "registries.registry.example.com.pass: unknown field"},
	} {
		_, err := ParseCluster([]byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: a password is repeated: %v", name, err)
		}
	}
}
