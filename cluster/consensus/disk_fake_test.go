package consensus

import (
	"fmt"
	"sync"
	"syscall"

	"github.com/hashicorp/raft"
)

// moodyDisk refuses writes when it is told to.
type moodyDisk struct {
	disk

	mu sync.Mutex // guards the fields below
	// refuses says of a write whether it fails; nil is never.
	refuses func(write) bool
}

// write is what a moodyDisk is asked to take.
type write struct {
	entries []*raft.Log // of StoreLogs
	cut     bool        // DeleteRange
	key     string      // of Set and SetUint64
	size    int
}

// over puts the disk over another.
func (d *moodyDisk) over(below disk) disk {
	d.disk = below
	return d
}

func (d *moodyDisk) refuse(which func(write) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuses = which
}

func (d *moodyDisk) mood(w write) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuses != nil && d.refuses(w) {
		return fmt.Errorf("moody disk: %w", syscall.ENOSPC)
	}
	return nil
}

func (d *moodyDisk) StoreLog(entry *raft.Log) error { return d.StoreLogs([]*raft.Log{entry}) }

func (d *moodyDisk) StoreLogs(entries []*raft.Log) error {
	w := write{entries: entries}
	for _, entry := range entries {
		w.size += len(entry.Data)
	}
	if err := d.mood(w); err != nil {
		return err
	}
	return d.disk.StoreLogs(entries)
}

func (d *moodyDisk) DeleteRange(first, last uint64) error {
	if err := d.mood(write{cut: true}); err != nil {
		return err
	}
	return d.disk.DeleteRange(first, last)
}

func (d *moodyDisk) Set(key, value []byte) error {
	if err := d.mood(write{key: string(key), size: len(value)}); err != nil {
		return err
	}
	return d.disk.Set(key, value)
}

func (d *moodyDisk) SetUint64(key []byte, value uint64) error {
	if err := d.mood(write{key: string(key), size: 8}); err != nil {
		return err
	}
	return d.disk.SetUint64(key, value)
}

// everything is what a disk refuses that is gone, and big what a full one does.
func everything(write) bool { return true }

func big(w write) bool { return w.size > 1000 || w.cut }
