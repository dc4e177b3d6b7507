package rig

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Build makes the image on the engine and returns its id.
func (d *Docker) Build(ctx context.Context, img Image) (string, error) {
	rootfs, err := img.rootfs()
	if err != nil {
		return "", err
	}
	repo, tag, _ := strings.Cut(img.Ref, ":")
	q := url.Values{"fromSrc": {"-"}, "repo": {repo}, "tag": {tag}, "changes": img.changes()}
	data, err := d.send(ctx, http.MethodPost, "/images/create?"+q.Encode(), "application/x-tar", bytes.NewReader(rootfs))
	if err != nil {
		return "", fmt.Errorf("import image %s: %w", img.Ref, err)
	}
	id := ""
	if err := progress(data, func(rec record) { id = rec.Status }); err != nil {
		return "", fmt.Errorf("import image %s: %w", img.Ref, err)
	}
	return id, nil
}

// record is a line of the stream that answers calls which move images. An error
// arrives inside it.
type record struct {
	Status, Error string
	Aux           struct{ Digest string }
}

func progress(data []byte, each func(record)) error {
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var rec record
		if err := dec.Decode(&rec); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("decode the engine's answer: %w", err)
		}
		if rec.Error != "" {
			return errors.New(rec.Error)
		}
		each(rec)
	}
}

// Tag gives an image one more name.
func (d *Docker) Tag(ctx context.Context, ref, name string) error {
	repo, tag := splitRef(name)
	q := url.Values{"repo": {repo}, "tag": {tag}}
	return d.Do(ctx, http.MethodPost, "/images/"+ref+"/tag?"+q.Encode(), nil, nil)
}

// Push pushes an image to the registry that its name begins with, and returns
// the digest that the registry knows it by.
func (d *Docker) Push(ctx context.Context, ref string) (string, error) {
	repo, tag := splitRef(ref)
	data, err := d.send(ctx, http.MethodPost, "/images/"+repo+"/push?"+url.Values{"tag": {tag}}.Encode(), "", nil)
	digest := ""
	if err == nil {
		err = progress(data, func(rec record) { digest = cmp.Or(rec.Aux.Digest, digest) })
	}
	if err == nil && digest == "" {
		err = errors.New("the engine told no digest")
	}
	if err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	return digest, nil
}

// Pull pulls an image, by tag or digest.
func (d *Docker) Pull(ctx context.Context, ref string) error {
	data, err := d.send(ctx, http.MethodPost, "/images/create?"+url.Values{"fromImage": {ref}}.Encode(), "", nil)
	if err == nil {
		err = progress(data, func(record) {})
	}
	if err != nil {
		return fmt.Errorf("pull %s: %w", ref, err)
	}
	return nil
}

// ImageID is the id of an image that the engine holds.
func (d *Docker) ImageID(ctx context.Context, ref string) (string, error) {
	var out struct{ ID string }
	err := d.Do(ctx, http.MethodGet, "/images/"+ref+"/json", nil, &out)
	return out.ID, err
}

// RemoveImage removes a name, and the image with its last one.
func (d *Docker) RemoveImage(ctx context.Context, ref string) error {
	return d.Do(ctx, http.MethodDelete, "/images/"+ref, nil, nil)
}

// CopyImages loads images of this engine into others, with their ids: an image
// that each engine builds for itself is another one everywhere.
func (d *Docker) CopyImages(ctx context.Context, refs []string, to ...*Docker) error {
	data, err := d.send(ctx, http.MethodGet, "/images/get?"+url.Values{"names": refs}.Encode(), "", nil)
	if err != nil {
		return fmt.Errorf("save images: %w", err)
	}
	loaded := make(chan error, len(to))
	for _, other := range to {
		go func() {
			answer, err := other.send(ctx, http.MethodPost, "/images/load?quiet=1", "application/x-tar", bytes.NewReader(data))
			if err == nil {
				err = progress(answer, func(record) {})
			}
			loaded <- err
		}()
	}
	var errs error
	for range to {
		errs = errors.Join(errs, <-loaded)
	}
	if errs != nil {
		return fmt.Errorf("load images: %w", errs)
	}
	return nil
}

// splitRef cuts "host:5000/name:tag"; the tag is latest where there is none.
func splitRef(ref string) (repo, tag string) {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:]
	}
	return ref, "latest"
}
