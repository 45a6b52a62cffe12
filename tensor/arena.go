package tensor

import "fmt"

// align is the alignment of every tensor, in bytes: one cache line, and one
// AVX-512 vector.
const align = 64

// Arena allocates tensors under a name and frees them together. With a nil
// device it only plans: tensors have shapes but no memory, and the ledger fills
// as it would for real. Err returns the first failure, once, at the end.
//
// A real arena needs the ledger of the plan, from which it knows how large each
// overlay is. An allocation the plan does not foresee is not an error, except
// in an overlay.
type Arena struct {
	*arenas
	prefix  string
	overlay *overlay // nil: every tensor has its own memory
}

// arenas is what an Arena and its Subs share.
type arenas struct {
	dev      Device
	ledger   *Ledger
	plan     *Ledger // nil while planning
	bufs     []Buffer
	overlays map[string]*shared
	onDisk   bool  // Bulk is OnDisk
	store    Store // of the OnDisk pool, nil while planning
	first    int   // index of the first ledger entry of this arena
	err      error
}

// shared is the one block of memory behind all overlays of a name.
type shared struct {
	entry int // index in the ledger
	buf   Buffer
	bytes int64
}

// overlay is one use of a shared block, filled from its beginning.
type overlay struct {
	name string
	off  int64 // bytes taken so far
}

// NewPlan makes an arena that allocates nothing and fills l.
func NewPlan(l *Ledger) *Arena {
	return &Arena{arenas: &arenas{ledger: l, overlays: map[string]*shared{}, first: len(l.entries)}}
}

// NewArena makes an arena on d that fills l; plan is the ledger that the same
// calls on a planning arena filled.
func NewArena(d Device, l, plan *Ledger) *Arena {
	return &Arena{arenas: &arenas{dev: d, ledger: l, plan: plan, overlays: map[string]*shared{}, first: len(l.entries)}}
}

// Planning reports whether tensors have no memory.
func (a *Arena) Planning() bool { return a.dev == nil }

// KeepOnDisk makes OnDisk the pool of Bulk, with memory from s, whose closing
// frees it; a planning arena is given nil.
func (a *Arena) KeepOnDisk(s Store) { a.onDisk, a.store = true, s }

// Bulk is the pool for what may be larger than memory: OnHost, or OnDisk after
// KeepOnDisk.
func (a *Arena) Bulk() Pool {
	if a.onDisk {
		return OnDisk
	}
	return OnHost
}

// Device is where tensors live, nil while planning.
func (a *Arena) Device() Device { return a.dev }

// Sub is the same arena with name and a dot before every name.
func (a *Arena) Sub(name string) *Arena {
	b := *a
	b.prefix = a.prefix + name + "."
	return &b
}

// Overlay starts over at the beginning of the memory of that name: what one
// user of an overlay puts there, the next user of the same name overwrites. The
// largest user, found by planning, gives the size.
func (a *Arena) Overlay(name string) *Arena {
	b := *a
	b.overlay = &overlay{name: name}
	return &b
}

// New allocates a zeroed tensor on the device. In an overlay the memory is as
// the last user left it.
func (a *Arena) New(name string, t DType, dims ...int) Tensor {
	x := Tensor{DType: t}
	x.setDims(dims)
	a.place(name, &x)
	return x
}

func (a *Arena) place(name string, x *Tensor) {
	bytes := (x.Bytes() + align - 1) &^ (align - 1)
	if bytes == 0 {
		bytes = align // a device gives no empty memory
	}
	e := Entry{Name: a.prefix + name, Pool: OnDevice, DType: x.DType, Dims: append([]int(nil), x.Dims[:x.Rank]...), Bytes: bytes}
	if a.overlay == nil {
		a.ledger.add(e)
		x.Buf = a.alloc(e.Name, bytes, OnDevice)
		return
	}
	if x.DType.Quantised() {
		panic(fmt.Sprintf("tensor: %v in an overlay: frozen weights stay", x))
	}
	e.Part = true
	a.ledger.add(e)
	o := a.overlay
	start := o.off
	o.off += bytes
	s := a.sharedBlock(o.name)
	if a.Planning() {
		if grow := o.off - s.bytes; grow > 0 {
			s.bytes = o.off
			a.ledger.entries[s.entry].Bytes += grow
			a.ledger.used[OnDevice] += grow
			a.ledger.peak[OnDevice] = max(a.ledger.peak[OnDevice], a.ledger.used[OnDevice])
		}
		a.ledger.extent(o.name, s.bytes)
		return
	}
	if o.off > s.bytes {
		panic(fmt.Sprintf("tensor: overlay %q needs %d bytes, the plan foresaw %d", o.name, o.off, s.bytes))
	}
	x.Buf = s.buf
	x.Off = start / x.DType.Size()
}

// sharedBlock finds or makes the block behind an overlay.
func (a *Arena) sharedBlock(name string) *shared {
	s := a.overlays[name]
	if s != nil {
		return s
	}
	s = &shared{entry: len(a.ledger.entries)}
	a.overlays[name] = s
	if !a.Planning() {
		s.bytes = a.plan.overlays[name]
		s.buf = a.alloc("overlay "+name, s.bytes, OnDevice)
	}
	a.ledger.add(Entry{Name: "overlay " + name, Pool: OnDevice, DType: F32, Bytes: s.bytes})
	return s
}

func (a *Arena) alloc(name string, bytes int64, p Pool) Buffer {
	if a.Planning() || a.err != nil {
		return nil
	}
	var b Buffer
	var err error
	if p == OnDisk {
		b, err = a.store.Alloc(bytes)
	} else if b, err = a.dev.Alloc(bytes, p); err == nil {
		a.bufs = append(a.bufs, b)
	}
	if err != nil {
		a.err = fmt.Errorf("%s: %d bytes of %v memory: %w", name, bytes, p, err)
		return nil
	}
	return b
}

// Host allocates a zeroed tensor in any pool but OnDevice, for what visits the
// device: it has Buf.Host(), and no kernel takes it. Overlays do not apply.
func (a *Arena) Host(name string, p Pool, t DType, dims ...int) Tensor {
	if p == OnDevice {
		panic("tensor: host tensor in device memory: " + name)
	}
	x := Tensor{DType: t}
	x.setDims(dims)
	bytes := max(align, (x.Bytes()+align-1)&^(align-1))
	e := Entry{Name: a.prefix + name, Pool: p, DType: t, Dims: append([]int(nil), dims...), Bytes: bytes}
	a.ledger.add(e)
	x.Buf = a.alloc(e.Name, bytes, p)
	return x
}

// Float32 allocates n zeroed floats of any pool but OnDevice, nil while
// planning or after a failure. Overlays do not apply to host memory.
func (a *Arena) Float32(name string, p Pool, n int) []float32 {
	return hostSlice(a, name, p, F32, n, Tensor.Float32)
}

// Int32 is Float32 for integers.
func (a *Arena) Int32(name string, p Pool, n int) []int32 {
	return hostSlice(a, name, p, I32, n, Tensor.Int32)
}

// BFloat16 is Float32 for the bits of bfloat16s.
func (a *Arena) BFloat16(name string, p Pool, n int) []uint16 {
	return hostSlice(a, name, p, BF16, n, Tensor.BFloat16)
}

// Uint8 is Float32 for bytes.
func (a *Arena) Uint8(name string, p Pool, n int) []uint8 {
	return hostSlice(a, name, p, U8, n, Tensor.Uint8)
}

func hostSlice[E any](a *Arena, name string, p Pool, t DType, n int, view func(Tensor) []E) []E {
	x := a.Host(name, p, t, n)
	if x.Buf == nil {
		return nil
	}
	return view(x)
}

// Err is the first failure.
func (a *Arena) Err() error { return a.err }

// Close frees everything the arena and its Subs allocated. Arenas of one ledger
// close in the reverse order of their making.
func (a *Arena) Close() {
	for i := len(a.bufs) - 1; i >= 0; i-- {
		a.dev.Free(a.bufs[i])
	}
	a.bufs = nil
	a.ledger.drop(a.first, len(a.ledger.entries))
}
