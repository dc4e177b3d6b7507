package cluster

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/signing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestTranscripts plays the files of testdata/transcripts to a state. A block
// is a command and, after a line of dashes, what became of it: the outcome,
// and the records that changed. Blocks end with an empty line. See transcript
// for the commands; -update rewrites the outcomes.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &transcript{rig: newRig(t), names: make(map[string]string)}
			got := p.play(string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("transcript differs (-want +got):\n%s", diff)
			}
		})
	}
}

// transcript plays one file.
type transcript struct {
	*rig
	names map[string]string // of objects: "$name" to hash
}

const transcriptLine = "----"

// play returns the file with the outcomes as they are.
func (p *transcript) play(file string) string {
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimRight(file, "\n"), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		input, _, _ := strings.Cut(block, "\n"+transcriptLine)
		out.WriteString(input + "\n")
		var lines []string
		for line := range strings.SplitSeq(input, "\n") {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		if len(lines) > 0 {
			out.WriteString(transcriptLine + "\n" + p.run(lines[0], strings.Join(lines[1:], "\n")))
		}
	}
	return out.String()
}

// run carries out one block:
//
//	KIND [actor=NAME] [at=TIME]   apply the command, a Go type's name, with
//	                              the JSON below; $NAME is a hash
//	objects NAME=TYPE:TEXT …      PutObjects of objects, which it names
//	again                         apply the last index once more
//	bytes HEX                     apply raw bytes
//	reload                        replace the state by its own snapshot
//	audit                         print the audit log
func (p *transcript) run(line, body string) string {
	words := strings.Fields(line)
	switch words[0] {
	case "audit":
		return p.auditLog()
	case "reload":
		return p.reload()
	case "again":
		p.index--
		return p.step(func() Result { return p.applyBytes([]byte("never read")) })
	case "bytes":
		data, err := hex.DecodeString(words[1])
		if err != nil {
			p.t.Fatal(err)
		}
		return p.step(func() Result { return p.applyBytes(data) })
	case "objects":
		c := &PutObjects{}
		for _, word := range words[1:] {
			c.Objects = append(c.Objects, p.object(word))
		}
		return p.step(func() Result { return p.apply(c) })
	}
	e := Entry{Time: p.now.Add(time.Second), Actor: Actor{Kind: ActorNode, Name: "node-1"}, Command: p.command(words[0], body)}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "actor":
			e.Actor.Name = value
		case "at":
			at, err := time.Parse(time.TimeOnly, value)
			if err != nil {
				p.t.Fatal(err)
			}
			e.Time = start.Truncate(24 * time.Hour).Add(at.Sub(at.Truncate(24 * time.Hour)))
		default:
			p.t.Fatalf("unknown word %q", word)
		}
	}
	return p.step(func() Result { return p.applyEntry(e) })
}

// object makes the object of a word NAME=TYPE:TEXT and remembers its name.
func (p *transcript) object(word string) StoredObject {
	name, content, _ := strings.Cut(word, "=")
	kind, text, _ := strings.Cut(content, ":")
	types := map[string]signing.ObjectType{
		"commit": signing.CommitObject, "tree": signing.TreeObject, "blob": signing.BlobObject, "tag": signing.TagObject,
	}
	o := testObject(types[kind], text)
	p.names["$"+name] = o.ID.String()
	return o
}

func (p *transcript) command(kind, body string) Command {
	p.t.Helper()
	for _, c := range allCommands() {
		if reflect.TypeOf(c).Elem().Name() != kind {
			continue
		}
		for name, hash := range p.names {
			body = strings.ReplaceAll(body, `"`+name+`"`, `"`+hash+`"`)
		}
		d := json.NewDecoder(strings.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(c); err != nil {
			p.t.Fatalf("%s %s: %v", kind, body, err)
		}
		return c
	}
	p.t.Fatalf("unknown command %q", kind)
	return nil
}

// step applies and says what came of it.
func (p *transcript) step(apply func() Result) string {
	before := p.dump()
	audit := p.state.Read().AuditHead().Number
	result := apply()
	after := p.dump()
	var out strings.Builder
	switch {
	case Stops(result.Err):
		fmt.Fprintf(&out, "%d stopped: %v\n", result.Index, result.Err)
	case result.Err != nil:
		fmt.Fprintf(&out, "%d refused: %v\n", result.Index, result.Err)
	case result.Changed:
		fmt.Fprintf(&out, "%d applied\n", result.Index)
	case p.state.Read().AuditHead().Number == audit:
		fmt.Fprintf(&out, "%d skipped\n", result.Index)
	default:
		fmt.Fprintf(&out, "%d unchanged\n", result.Index)
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			out.WriteString("- " + line + "\n")
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			out.WriteString("+ " + line + "\n")
		}
	}
	if changed := !slices.Equal(before, after); changed != result.Changed {
		p.t.Errorf("index %d: Changed is %v, but the state changed: %v", result.Index, result.Changed, changed)
	}
	return out.String()
}

func (p *transcript) auditLog() string {
	var out strings.Builder
	for r, err := range p.state.Read().Audit(AuditFilter{}) {
		if err != nil {
			p.t.Fatal(err)
		}
		line := fmt.Sprintf("%d at %s %s %s deployment=%s service=%s revision=%s node=%s: %s", r.Number,
			r.Time.Format(time.TimeOnly), r.Type, r.Actor, r.Deployment, r.Service, r.Revision, r.Node, r.Message)
		if r.Outcome != "" {
			line += " [" + r.Outcome + "]"
		}
		out.WriteString(p.named(line) + "\n")
	}
	return out.String()
}

func (p *transcript) reload() string {
	var saved, again bytes.Buffer
	other := newRig(p.t)
	for _, step := range []error{p.state.Save(&saved), other.state.Load(bytes.NewReader(saved.Bytes())), other.state.Save(&again)} {
		if step != nil {
			p.t.Fatal(step)
		}
	}
	if !bytes.Equal(saved.Bytes(), again.Bytes()) {
		p.t.Error("a loaded snapshot saves to other bytes")
	}
	p.state = other.state
	return "same\n"
}

// dump prints every record of the state, one a line.
func (p *transcript) dump() []string {
	s := p.state.Read()
	var lines []string
	if m := s.Meta(); m != nil {
		lines = append(lines, "cluster "+p.print(*m))
	}
	if y := s.Sync(); y.State != "" {
		lines = append(lines, "sync "+p.print(y))
	}
	lines = append(lines, printAll(p, "node", s.Nodes())...)
	lines = append(lines, printAll(p, "replica", s.Replicas())...)
	lines = append(lines, printAll(p, "service", s.Services())...)
	lines = append(lines, printAll(p, "deployment", s.DeploymentStatuses())...)
	lines = append(lines, printAll(p, "claim", s.ClaimsAfter(0))...)
	lines = append(lines, printAll(p, "refusal", s.Refusals())...)
	lines = append(lines, printAll(p, "sealed", s.SealedItems())...)
	lines = append(lines, printAll(p, "token", s.Tokens())...)
	lines = append(lines, printAll(p, "mesh", s.MeshNodes())...)
	lines = append(lines, printAll(p, "slice", s.Slices())...)
	return append(lines, printAll(p, "object", knownObjects().list(s.tx, keyIndex))...)
}

func printAll[T any](p *transcript, what string, records []T) []string {
	lines := make([]string, len(records))
	for i, r := range records {
		lines[i] = what + " " + p.print(r)
	}
	return lines
}

// print prints the fields of a record that are not zero.
func (p *transcript) print(record any) string {
	v := reflect.ValueOf(record)
	var fields []string
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() {
			continue
		}
		var text string
		switch value := f.Interface().(type) {
		case time.Time:
			text = value.Format("15:04:05.999")
		case signing.Hash:
			text = p.named(value.String())
		case []byte:
			text = fmt.Sprintf("%q", value)
		case [32]byte:
			text = hex.EncodeToString(value[:4])
		case Repo, Rollout:
			text = "{" + p.print(value) + "}"
		default:
			text = fmt.Sprint(value)
		}
		fields = append(fields, v.Type().Field(i).Name+"="+text)
	}
	return strings.Join(fields, " ")
}

// named puts names in the place of hashes.
func (p *transcript) named(text string) string {
	for name, hash := range p.names {
		text = strings.ReplaceAll(text, hash, name)
		text = strings.ReplaceAll(text, hash[:12], name)
	}
	return text
}
