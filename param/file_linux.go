package param

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"meft/tensor"
)

// File is the memory of tables that may be larger than the RAM: a file mapped
// into memory, whose pages the system brings in when they are used and writes
// back when it needs their place. It is a tensor.Store.
//
// The file has no name from the moment it is open, so that its disk space is
// free again when the process ends, however it ends.
type File struct {
	mem  []byte
	used int64
}

// NewFile takes so many bytes of the disk of a folder, made if it is missing,
// at once: a disk that is too full is an error here, which names the folder, the
// bytes wanted and those free, and not a crash later.
func NewFile(dir string, bytes int64) (_ *File, err error) {
	if bytes <= 0 || bytes > math.MaxInt {
		return nil, fmt.Errorf("%s: a file of %d bytes", dir, bytes)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".tmp-host-store-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // the mapping keeps the file
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if err := reserve(int(f.Fd()), bytes); err != nil {
		return nil, fmt.Errorf("%s: reserving %d bytes%s: %w", f.Name(), bytes, free(dir), err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping %d bytes: %w", f.Name(), bytes, err)
	}
	// Advice only. Rows are used in no order, so reading ahead would be for
	// nothing.
	_ = unix.Madvise(mem, unix.MADV_RANDOM)
	return &File{mem: mem}, nil
}

// reserve takes the blocks of an open file.
func reserve(fd int, bytes int64) error {
	for {
		err := unix.Fallocate(fd, 0, 0, bytes)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("this file system takes no blocks in advance; choose a folder on another with host_store_dir: %w", err)
		}
		return err
	}
}

// free says how many bytes of a folder's disk are free, where that is known.
func free(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return ""
	}
	return fmt.Sprintf(" of a disk with %d free", int64(s.Bavail)*s.Bsize)
}

// Alloc gives the next bytes of the file; it is an error to ask for more than
// there are.
func (f *File) Alloc(bytes int64) (tensor.Buffer, error) {
	if bytes <= 0 || bytes > int64(len(f.mem))-f.used {
		return nil, fmt.Errorf("%d bytes of a file with %d, %d of them taken", bytes, len(f.mem), f.used)
	}
	part := filePart(f.mem[f.used : f.used+bytes : f.used+bytes])
	f.used += bytes
	return part, nil
}

// Close gives the memory and the disk space back.
func (f *File) Close() {
	if err := unix.Munmap(f.mem); err != nil {
		panic(fmt.Sprintf("param: munmap of %d bytes: %v", len(f.mem), err))
	}
	f.mem = nil
}

// filePart is a tensor.Buffer.
type filePart []byte

// Bytes is the size.
func (p filePart) Bytes() int64 { return int64(len(p)) }

// Host is the memory.
func (p filePart) Host() []byte { return p }
