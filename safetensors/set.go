package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
)

// Set is an open checkpoint: one file or all shards of one, mapped read-only.
// Its methods may be called from several goroutines, Close after all others are
// done. The files must not be truncated or written to while the Set is open
// (the system would kill the process on a read past the end); replacing them by
// rename, as Write does, is safe.
type Set struct {
	path     string
	files    []*file
	tensors  map[string]entry // nil after Close
	names    []string         // sorted
	metadata map[string]string
}

// file is one shard.
type file struct {
	path   string
	data   []byte // the whole file
	mapped bool   // data came from mapFile and goes back with unmapFile
	header Header
}

// entry is one tensor of a Set.
type entry struct {
	Info
	file *file
}

// bytes returns the data of the tensor, with no room to append.
func (e entry) bytes() []byte {
	lo, hi := e.file.header.Start+e.start, e.file.header.Start+e.end
	return e.file.data[lo:hi:hi]
}

// Open opens a checkpoint. path is a .safetensors file, an index file
// (*.safetensors.index.json), or a folder; in a folder it takes
// model.safetensors, else model.safetensors.index.json, else the only
// *.safetensors file. Every shard named by an index has to exist, and index and
// shards have to agree on where each tensor is. The error lists all problems of
// all shards.
func Open(path string) (*Set, error) {
	files, idx, err := locate(path)
	if err != nil {
		return nil, err
	}
	s := &Set{path: path, tensors: map[string]entry{}}
	p := &problems{}
	broken := map[string]bool{}
	for _, name := range files {
		f, err := openFile(name)
		if idx != nil && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: the index names this shard, and it is missing, download it again: %w", name, fs.ErrNotExist)
		}
		if err != nil {
			p.add(err)
			broken[name] = true
			continue
		}
		s.add(f, p)
	}
	if idx != nil {
		idx.compare(s, broken, p)
	}
	if err := p.err(); err != nil {
		s.Close()
		return nil, err
	}
	s.finish()
	return s, nil
}

// Parse returns a Set over a whole file in memory, such as an embedded one.
// data is not copied and must not change while the Set is in use; name stands
// for the file in errors and in Info.File.
func Parse(name string, data []byte) (*Set, error) {
	h, err := parseHeader(name, data, int64(len(data)))
	if err != nil {
		return nil, err
	}
	s := &Set{path: name, tensors: map[string]entry{}}
	s.add(&file{path: name, data: data, header: h}, &problems{})
	s.finish()
	return s, nil
}

// openFile maps one file and checks its header.
func openFile(path string) (*file, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() { // asked first: opening a pipe would wait for a writer
		return nil, fmt.Errorf("%s: is %v, wanted a regular file", path, stat.Mode())
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close() // a mapping outlives its descriptor
	if stat, err = in.Stat(); err != nil {
		return nil, err
	}
	size := stat.Size()
	if size > math.MaxInt {
		return nil, fmt.Errorf("%s: is %d bytes, too large for the address space of this machine", path, size)
	}
	f := &file{path: path}
	if size > 0 { // an empty range cannot be mapped
		if f.data, err = mapFile(in, int(size)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		f.mapped = true
	}
	if f.header, err = parseHeader(path, f.data, size); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *file) close() error {
	data := f.data
	f.data = nil
	if !f.mapped || data == nil {
		return nil
	}
	if err := unmapFile(data); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}

// add takes over f and reports tensors that an earlier file holds as well.
func (s *Set) add(f *file, p *problems) {
	s.files = append(s.files, f)
	for _, t := range f.header.Tensors {
		t.File = f.path
		if other, ok := s.tensors[t.Name]; ok {
			p.addf("%s: tensor %q is also in %s", f.path, clip(t.Name), other.File)
			continue
		}
		s.tensors[t.Name] = entry{t, f}
	}
}

// finish prepares what Names and Metadata return.
func (s *Set) finish() {
	s.names = slices.Sorted(maps.Keys(s.tensors))
	s.metadata = map[string]string{}
	for _, f := range slices.Backward(s.files) { // the first file wins
		maps.Copy(s.metadata, f.header.Metadata)
	}
}

// Names returns the names of all tensors, sorted.
func (s *Set) Names() []string { return slices.Clone(s.names) }

// Info returns the description of a tensor, false when there is none of this
// name.
func (s *Set) Info(name string) (Info, bool) {
	e, ok := s.tensors[name]
	return e.Info, ok
}

// Metadata returns a copy of the text entries under __metadata__. Where shards
// differ, the first shard in order of file name is followed.
func (s *Set) Metadata() map[string]string { return maps.Clone(s.metadata) }

// Bytes returns the little-endian data of a tensor as a read-only view of the
// file, valid until Close. Writing to it ends the process. It is aligned to the
// element size only if the writer of the file saw to that.
func (s *Set) Bytes(name string) ([]byte, error) {
	e, err := s.lookup(name)
	if err != nil {
		return nil, err
	}
	return e.bytes(), nil
}

func (s *Set) lookup(name string) (entry, error) {
	if s.tensors == nil {
		return entry{}, fmt.Errorf("%s: tensor %q: %w", s.path, clip(name), fs.ErrClosed)
	}
	e, ok := s.tensors[name]
	if !ok {
		return entry{}, fmt.Errorf("%s: has no tensor %q", s.path, clip(name))
	}
	return e, nil
}

// Release drops the pages of a tensor from the memory of the process, so that a
// load does not keep the checkpoint resident beside the model. The data stays
// readable and is fetched from the file again when it is. Unknown names and
// Sets made by Parse are left alone.
func (s *Set) Release(name string) {
	if e, ok := s.tensors[name]; ok && e.file.mapped {
		releasePages(e.file.data, int(e.file.header.Start+e.start), int(e.file.header.Start+e.end))
	}
}

// Close unmaps all files. Views returned by Bytes must not be used any more; a
// second Close does nothing.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.files {
		if err := f.close(); err != nil {
			errs = append(errs, err)
		}
	}
	s.files, s.tensors, s.names, s.metadata = nil, nil, nil, nil
	return errors.Join(errs...)
}
