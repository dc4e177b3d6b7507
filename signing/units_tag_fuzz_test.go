package signing

import (
	"bytes"
	"testing"
)

// FuzzTag offers any bytes as a tag: no panic, no refusal, and nothing but the
// tag that bob signed approves, byte for byte.
func FuzzTag(f *testing.F) {
	r, from := rooted(f)
	two := twoBy(r, "alice", from.Commit)
	signed := r.tagData("bob", "approve/shop/2", two, "yes")
	f.Add(signed)
	f.Add(r.tagData("", "approve/shop/2", two, "yes"))
	f.Add(r.tagData("bob", "approve/blog/2", two, "yes"))
	f.Add(r.tagData("alice-laptop", "approve/all/2", two, "yes"))
	f.Add(r.tagData("hub", "approve/shop/2", two, "Reanchor: "+from.Commit.String()))
	f.Add(bytes.Replace(signed, []byte("-----BEGIN"), []byte("x\n-----BEGIN"), 1))
	f.Add(append(bytes.Clone(signed), '\n'))
	f.Add(bytes.Replace(signed, []byte("object "), []byte("object 0"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := HashObject(Object{Type: TagObject, Data: data})
		if err != nil {
			return
		}
		src := overlay{r, id, Object{Type: TagObject, Data: data}}
		v, err := Verify(src, from, two, Options{Now: testNow, Tags: []Hash{id}})
		if err != nil || v.Refusal != nil || v.Position.Commit != two {
			t.Fatalf("verdict %+v, error %v", v, err)
		}
		genuine := bytes.Equal(data, signed)
		if counted := len(v.Tags) > 0; counted != genuine || len(v.Approved) > 0 != genuine {
			t.Fatalf("counted %v, genuine %v:\n%s", counted, genuine, data)
		}
	})
}

// overlay is a source with one object more.
type overlay struct {
	Source
	id     Hash
	object Object
}

// Object implements Source.
func (o overlay) Object(id Hash) (Object, error) {
	if id == o.id {
		return o.object, nil
	}
	return o.Source.Object(id)
}
