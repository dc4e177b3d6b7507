package cluster

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jaco-sh/jaco/signing"
)

// DiskObjects is an ObjectStore in one bbolt file. A body is kept compressed
// when that makes it smaller.
type DiskObjects struct {
	db      *bbolt.DB
	writers sync.Pool // of *flate.Writer; both kinds are large
	readers sync.Pool // of what flate.NewReader returns
}

var (
	_ ObjectStore    = (*DiskObjects)(nil)
	_ signing.Source = (*DiskObjects)(nil)
)

// objectBucket maps ids to a header (type, form, size as a varint) and the
// body in that form. Never renumber the forms.
const (
	objectBucket = "objects"
	formPlain    = 0
	formDeflate  = 1
)

// lockTimeout is how long OpenObjects waits for another process that holds
// the file.
const lockTimeout = 2 * time.Second

// OpenObjects opens the store at path and makes it when there is none, for its
// owner alone. A file that is empty, cut short or otherwise damaged is refused
// with an error that wraps ErrCorrupt: what is gone would be missed when it is
// needed. The file is locked: a second process gets an error after two seconds.
func OpenObjects(path string) (*DiskObjects, error) {
	db, err := openObjectFile(path)
	if err == nil {
		return &DiskObjects{db: db}, nil
	}
	err = fmt.Errorf("open object store %s: %w", path, err)
	if advice := DiskAdvice(filepath.Dir(path), err); advice != "" {
		err = fmt.Errorf("%w: %s", err, advice)
	}
	return nil, err
}

func openObjectFile(path string) (*bbolt.DB, error) {
	if err := CheckBolt(path, lockTimeout); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	options := *bbolt.DefaultOptions
	options.Timeout = lockTimeout
	options.NoFreelistSync = true
	options.FreelistType = bbolt.FreelistMapType
	db, err := bbolt.Open(path, 0o600, &options)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte(objectBucket))
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close releases the file once reads under way are done.
func (d *DiskObjects) Close() error {
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("close object store: %w", err)
	}
	return nil
}

// Put implements ObjectStore: all objects of a call become durable together,
// by one fsync. Nothing is written when all are known.
func (d *DiskObjects) Put(objects []StoredObject) error {
	var fresh []StoredObject
	for _, o := range objects {
		known, err := d.Has(o.ID)
		if err != nil {
			return err
		}
		if !known {
			fresh = append(fresh, o)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	err := d.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(objectBucket))
		for _, o := range fresh {
			value, err := d.pack(o.Object)
			if err != nil {
				return err
			}
			if err := bucket.Put(o.ID[:], value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store objects: %w", err)
	}
	return nil
}

// Object implements ObjectStore.
func (d *DiskObjects) Object(id signing.Hash) (signing.Object, error) {
	var o signing.Object
	err := d.db.View(func(tx *bbolt.Tx) (err error) {
		value := tx.Bucket([]byte(objectBucket)).Get(id[:])
		if value == nil {
			return signing.ErrNotFound
		}
		o, err = d.unpack(value)
		return err
	})
	if err != nil {
		return signing.Object{}, fmt.Errorf("object %s: %w", id, err)
	}
	return o, nil
}

// Has implements ObjectStore.
func (d *DiskObjects) Has(id signing.Hash) (bool, error) {
	var found bool
	err := d.db.View(func(tx *bbolt.Tx) error {
		found = tx.Bucket([]byte(objectBucket)).Get(id[:]) != nil
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("object %s: %w", id, err)
	}
	return found, nil
}

// Each implements ObjectStore. It walks the objects that are there when it
// starts.
func (d *DiskObjects) Each(fn func(StoredObject) error) error {
	return d.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(objectBucket)).ForEach(func(key, value []byte) error {
			if len(key) != len(signing.Hash{}) {
				return fmt.Errorf("object store: %w: key of %d bytes", ErrCorrupt, len(key))
			}
			o, err := d.unpack(value)
			if err != nil {
				return fmt.Errorf("object %s: %w", signing.Hash(key), err)
			}
			return fn(StoredObject{ID: signing.Hash(key), Object: o})
		})
	})
}

// pack returns the value of an object.
func (d *DiskObjects) pack(o signing.Object) ([]byte, error) {
	header := binary.AppendUvarint([]byte{byte(o.Type), formDeflate}, uint64(len(o.Data)))
	out := bytes.NewBuffer(header)
	w, ok := d.writers.Get().(*flate.Writer)
	if ok {
		w.Reset(out)
	} else {
		var err error
		if w, err = flate.NewWriter(out, flate.BestSpeed); err != nil {
			return nil, err
		}
	}
	defer d.writers.Put(w)
	if _, err := w.Write(o.Data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if out.Len() < len(header)+len(o.Data) {
		return out.Bytes(), nil
	}
	header[1] = formPlain
	return append(header, o.Data...), nil
}

// unpack is the inverse of pack. The result shares nothing with value.
func (d *DiskObjects) unpack(value []byte) (signing.Object, error) {
	if len(value) < 3 {
		return signing.Object{}, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	o := signing.Object{Type: signing.ObjectType(value[0])}
	form := value[1]
	size, n := binary.Uvarint(value[2:])
	if n <= 0 || size > maxRecord {
		return signing.Object{}, fmt.Errorf("%w: bad header", ErrCorrupt)
	}
	body := value[2+n:]
	switch form {
	case formPlain:
		o.Data = bytes.Clone(body)
	case formDeflate:
		var err error
		if o.Data, err = d.inflate(body, size); err != nil {
			return signing.Object{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	default:
		return signing.Object{}, fmt.Errorf("%w: form %d", ErrCorrupt, form)
	}
	if uint64(len(o.Data)) != size {
		return signing.Object{}, fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, len(o.Data), size)
	}
	return o, nil
}

// inflate reads what is compressed in body, and at most a byte more than size.
func (d *DiskObjects) inflate(body []byte, size uint64) ([]byte, error) {
	r, ok := d.readers.Get().(io.Reader)
	if !ok {
		r = flate.NewReader(nil)
	}
	defer d.readers.Put(r)
	reset, ok := r.(flate.Resetter)
	if !ok {
		return nil, errors.New("the decompressor cannot be used again")
	}
	if err := reset.Reset(bytes.NewReader(body), nil); err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(make([]byte, 0, min(size+bytes.MinRead, 1<<20)))
	_, err := io.Copy(out, io.LimitReader(r, int64(size)+1))
	return out.Bytes(), err
}
