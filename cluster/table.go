package cluster

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// table is one kind of record. Each kind has a file of its own that names its
// table and keeps its rules; reading and writing are the five functions below,
// the same for all. Records are stored by pointer and never changed once they
// are in.
type table[T any] struct {
	name    string
	key     func(*T) string
	indexes map[string]func(*T) string
}

// keyIndex is memdb's name of the primary index.
const keyIndex = "id"

// single is the key of a table that holds one record.
const single = "-"

// numberKey is a key that sorts as the number does.
func numberKey(n uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, n))
}

// schema describes the table to memdb.
func (t table[T]) schema() *memdb.TableSchema {
	s := &memdb.TableSchema{Name: t.name, Indexes: map[string]*memdb.IndexSchema{
		keyIndex: {Name: keyIndex, Unique: true, Indexer: indexer[T]{t.key}},
	}}
	for name, key := range t.indexes {
		s.Indexes[name] = &memdb.IndexSchema{Name: name, AllowMissing: true, Indexer: indexer[T]{key}}
	}
	return s
}

// get returns the record of a key, nil when there is none.
func (t table[T]) get(tx *memdb.Txn, key string) *T {
	v, err := tx.First(t.name, keyIndex, key)
	if err != nil {
		return nil // only for a table that the schema does not have
	}
	record, _ := v.(*T)
	return record
}

// walk calls yield for the records that match an index, in the order of keys,
// until it returns false. Index keyIndex without an argument is all records;
// an index name with the suffix "_prefix" matches prefixes.
func (t table[T]) walk(tx *memdb.Txn, yield func(*T) bool, index string, args ...any) {
	it, err := tx.Get(t.name, index, args...)
	if err != nil {
		return // only for an index that the schema does not have
	}
	for v := it.Next(); v != nil; v = it.Next() {
		if record, ok := v.(*T); ok && !yield(record) {
			return
		}
	}
}

// list copies the records that match an index.
func (t table[T]) list(tx *memdb.Txn, index string, args ...any) []T {
	var found []*T // records are large: their copies are made room for once
	t.walk(tx, func(v *T) bool {
		found = append(found, v)
		return true
	}, index, args...)
	if len(found) == 0 {
		return nil
	}
	out := make([]T, len(found))
	for i, v := range found {
		out[i] = *v
	}
	return out
}

// put writes a record whole.
func (t table[T]) put(tx *memdb.Txn, v T) error {
	if err := tx.Insert(t.name, &v); err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrStorage, t.name, err)
	}
	return nil
}

// drop removes the record of a key; one that is not there is fine.
func (t table[T]) drop(tx *memdb.Txn, key string) error {
	v := t.get(tx, key)
	if v == nil {
		return nil
	}
	if err := tx.Delete(t.name, v); err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrStorage, t.name, err)
	}
	return nil
}

// indexer implements memdb's index over a function. An empty key leaves the
// record out of the index.
type indexer[T any] struct {
	key func(*T) string
}

var (
	_ memdb.SingleIndexer = indexer[Node]{}
	_ memdb.PrefixIndexer = indexer[Node]{}
)

// FromObject implements memdb.SingleIndexer.
func (x indexer[T]) FromObject(obj any) (bool, []byte, error) {
	v, ok := obj.(*T)
	if !ok {
		return false, nil, fmt.Errorf("record of type %T", obj)
	}
	key := x.key(v)
	if key == "" {
		return false, nil, nil
	}
	return true, append([]byte(key), 0), nil
}

// FromArgs implements memdb.Indexer.
func (x indexer[T]) FromArgs(args ...any) ([]byte, error) {
	key, err := x.PrefixFromArgs(args...)
	return append(key, 0), err
}

// PrefixFromArgs implements memdb.PrefixIndexer.
func (x indexer[T]) PrefixFromArgs(args ...any) ([]byte, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("%d keys instead of 1", len(args))
	}
	key, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("key of type %T", args[0])
	}
	return []byte(key), nil
}

// newDB returns empty tables.
func newDB() (*memdb.MemDB, error) {
	schema := &memdb.DBSchema{Tables: make(map[string]*memdb.TableSchema)}
	for _, s := range []*memdb.TableSchema{
		positions().schema(), metas().schema(), syncs().schema(), nodes().schema(),
		replicas().schema(), services().schema(), deployments().schema(), claims().schema(),
		refusals().schema(), sealedItems().schema(), tokens().schema(), knownObjects().schema(),
		segments().schema(), auditEntries().schema(), meshNodes().schema(), meshSlices().schema(),
	} {
		schema.Tables[s.Name] = s
	}
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		return nil, fmt.Errorf("make tables: %w", err)
	}
	return db, nil
}
