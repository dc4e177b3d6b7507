package signing

// Read is one object that a Recorder handed out.
type Read struct {
	ID   Hash
	Type ObjectType
	Size int // bytes of content, without the header
}

// Recorder is a Source that remembers what was read through it. The leader
// packs as evidence exactly what judging and compiling read, so that every
// other node can do the same with nothing else at hand. It is not safe for
// concurrent use.
type Recorder struct {
	src   Source
	seen  map[Hash]bool
	reads []Read
}

var _ Source = (*Recorder)(nil)

// NewRecorder returns a recorder that reads from src.
func NewRecorder(src Source) *Recorder {
	return &Recorder{src: src, seen: make(map[Hash]bool)}
}

// Object implements Source. What the source does not have is not remembered.
func (r *Recorder) Object(id Hash) (Object, error) {
	object, err := r.src.Object(id)
	if err != nil {
		return Object{}, err
	}
	if !r.seen[id] {
		r.seen[id] = true
		r.reads = append(r.reads, Read{ID: id, Type: object.Type, Size: len(object.Data)})
	}
	return object, nil
}

// Reads returns what was read, each object once, in the order of first reads.
func (r *Recorder) Reads() []Read { return r.reads }

// IDs returns the ids of Reads.
func (r *Recorder) IDs() []Hash {
	ids := make([]Hash, len(r.reads))
	for i, read := range r.reads {
		ids[i] = read.ID
	}
	return ids
}
