package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	singleName  = "model.safetensors"
	indexSuffix = ".safetensors.index.json"
	indexName   = "model" + indexSuffix
)

// index is the table of a sharded checkpoint.
type index struct {
	path  string
	shard map[string]string // tensor name to path of its file
}

// locate returns the files of the checkpoint at path, and the index when there
// is one.
func locate(path string) ([]string, *index, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if !stat.IsDir() {
		if strings.HasSuffix(path, indexSuffix) {
			return fromIndex(path)
		}
		return []string{path}, nil, nil
	}
	for _, name := range []string{singleName, indexName} {
		p := filepath.Join(path, name)
		_, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if name == indexName {
			return fromIndex(p)
		}
		return []string{p}, nil, nil
	}
	return onlyFile(path)
}

// onlyFile finds the single *.safetensors file of a folder.
func onlyFile(dir string) ([]string, *index, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var found, other []string
	for _, e := range list {
		switch name := e.Name(); {
		case strings.HasPrefix(name, "."):
		case strings.HasSuffix(name, ".safetensors"):
			found = append(found, name)
		case strings.HasSuffix(name, ".bin"), strings.HasSuffix(name, ".pth"), strings.HasSuffix(name, ".pt"),
			strings.HasSuffix(name, ".gguf"), strings.HasSuffix(name, indexSuffix):
			other = append(other, name)
		}
	}
	switch {
	case len(found) == 1:
		return []string{filepath.Join(dir, found[0])}, nil, nil
	case len(found) > 1:
		return nil, nil, fmt.Errorf("%s: has %d .safetensors files (%s) and neither %s nor %s: name one of them",
			dir, len(found), clip(strings.Join(found, ", ")), singleName, indexName)
	case len(other) > 0:
		return nil, nil, fmt.Errorf("%s: has no .safetensors file, only %s: convert it to safetensors",
			dir, clip(strings.Join(other, ", ")))
	}
	return nil, nil, fmt.Errorf("%s: has no .safetensors file: %w", dir, fs.ErrNotExist)
}

// fromIndex reads an index and returns its shards, sorted by path.
func fromIndex(path string) ([]string, *index, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if stat.Size() > maxHeader {
		return nil, nil, fmt.Errorf("%s: is %d bytes, at most %d are allowed for an index", path, stat.Size(), maxHeader)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	idx, err := parseIndex(path, data)
	if err != nil {
		return nil, nil, err
	}
	return slices.Compact(slices.Sorted(maps.Values(idx.shard))), idx, nil
}

// parseIndex reads {"metadata": ..., "weight_map": {tensor: file}}. File names
// are taken within the folder of the index only: an index is downloaded data
// and must not open anything else.
func parseIndex(path string, data []byte) (*index, error) {
	idx := &index{path: path, shard: map[string]string{}}
	p := &problems{where: path}
	if !utf8.Valid(data) {
		p.addf("index is not UTF-8")
		return nil, p.err()
	}
	dec, tables := newDecoder(data), 0
	err := object(dec, "index", func(key string) error {
		if key != "weight_map" {
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return fmt.Errorf("%q: %w", clip(key), err)
			}
			return nil
		}
		if tables++; tables > 1 {
			p.addf("weight_map is listed twice")
		}
		return idx.readMap(dec, p)
	})
	if err == nil {
		err = atEnd(dec)
	}
	switch {
	case err != nil:
		p.add(err)
	case tables == 0:
		p.addf("index has no weight_map")
	case len(idx.shard) == 0:
		p.addf("index names no tensors")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return idx, nil
}

func (idx *index) readMap(dec *json.Decoder, p *problems) error {
	return object(dec, "weight_map", func(name string) error {
		file, err := text(dec, fmt.Sprintf("weight_map %q", clip(name)))
		if err != nil {
			return err
		}
		if !filepath.IsLocal(file) {
			p.addf("tensor %q is said to be in %q, which is not a file beside the index", clip(name), clip(file))
		}
		if _, ok := idx.shard[name]; ok {
			p.addf("tensor %q is listed twice", clip(name))
		}
		idx.shard[name] = filepath.Join(filepath.Dir(idx.path), file)
		return nil
	})
}

// compare reports tensors that index and shards place differently. Shards in
// broken could not be read and have been reported already.
func (idx *index) compare(s *Set, broken map[string]bool, p *problems) {
	for _, name := range slices.Sorted(maps.Keys(idx.shard)) {
		want := idx.shard[name]
		if broken[want] {
			continue
		}
		e, ok := s.tensors[name]
		switch {
		case !ok:
			p.addf("%s: tensor %q is missing from %s", idx.path, clip(name), filepath.Base(want))
		case e.File != want:
			p.addf("%s: tensor %q is said to be in %s, it is in %s",
				idx.path, clip(name), filepath.Base(want), filepath.Base(e.File))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.tensors)) {
		if _, ok := idx.shard[name]; !ok {
			p.addf("%s: tensor %q of %s is not listed", idx.path, clip(name), filepath.Base(s.tensors[name].File))
		}
	}
}
