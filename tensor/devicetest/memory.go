package devicetest

import (
	"bytes"
	"testing"
	"unsafe"

	"meft/tensor"
)

func vec(b tensor.Buffer, d tensor.DType, n int) tensor.Tensor {
	return tensor.Tensor{Buf: b, DType: d, Rank: 1, Dims: [tensor.MaxRank]int{n}}
}

// memory tests that allocations are zeroed, aligned and counted.
func (s *suite) memory(t *testing.T) {
	for p := tensor.Pool(0); p < tensor.Pools; p++ {
		before := s.dev.Allocated(p)
		for _, bytes := range []int64{64, 4096, 100 << 10, 5<<20 + 64} {
			// The second round would see what the first left behind.
			for range 2 {
				b, err := s.dev.Alloc(bytes, p)
				if err != nil {
					t.Fatal(err)
				}
				if b.Bytes() != bytes || s.dev.Allocated(p)-before != bytes {
					t.Errorf("%v: asked for %d bytes, buffer has %d, the device counts %d", p, bytes, b.Bytes(), s.dev.Allocated(p)-before)
				}
				s.zeroed(t, b, p)
				s.dev.Free(b)
			}
		}
		if n := s.dev.Allocated(p); n != before {
			t.Errorf("%v: %d bytes counted before, %d after", p, before, n)
		}
	}
	for _, bytes := range []int64{-1, 0, 1 << 52} {
		if _, err := s.dev.Alloc(bytes, tensor.OnDevice); err == nil {
			t.Errorf("no error for %d bytes", bytes)
		}
	}
}

// zeroed checks one buffer and leaves ones in it.
func (s *suite) zeroed(t *testing.T, b tensor.Buffer, p tensor.Pool) {
	t.Helper()
	n := int(b.Bytes())
	ones := bytes.Repeat([]byte{0x3f}, n)
	host := b.Host()
	if p != tensor.OnDevice {
		if len(host) != n {
			t.Fatalf("%v: host memory has %d bytes, wants %d", p, len(host), n)
		}
		if uintptr(unsafe.Pointer(&host[0]))%64 != 0 {
			t.Errorf("%v: memory starts at %p, no multiple of 64", p, &host[0])
		}
		if !bytes.Equal(host, make([]byte, n)) {
			t.Errorf("%v: %d bytes are not zeroed", p, n)
		}
		copy(host, ones)
		return
	}
	x := vec(b, tensor.F32, n/4)
	got := make([]byte, n)
	s.dev.Await(s.dev.Download(got, x))
	if !bytes.Equal(got, make([]byte, n)) {
		t.Errorf("%v: %d bytes are not zeroed", p, n)
	}
	s.dev.Await(s.dev.Upload(x, ones))
}

// copies tests Upload, Download and the order between copies and kernels.
func (s *suite) copies(t *testing.T) {
	b, err := s.dev.Alloc(4096, tensor.OnDevice)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dev.Free(b)
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.I32} {
		data := make([]byte, 33*d.Size())
		for i := range data {
			data[i] = byte(37*i+1) & 0x3f
		}
		x := vec(b, d, 40).Rows(5, 38)
		up := s.dev.Upload(x, data)
		s.dev.After(up)
		got := make([]byte, len(data))
		down := s.dev.Download(got, x)
		// Waiting for the later copy first is allowed.
		s.dev.Await(down)
		s.dev.Await(up)
		if !bytes.Equal(got, data) {
			t.Errorf("%v: down came %x, up went %x", d, got, data)
		}
	}
	x := vec(b, tensor.F32, 1024)
	one := make([]float32, 1024)
	for i := range one {
		one[i] = 1
	}
	s.dev.After(s.dev.Upload(x, tensor.Bytes(one)))
	for range 10 {
		s.dev.Add(x, x, x) // the download waits for all of them
	}
	s.dev.Fill(x.Rows(0, 1), 3)
	got := make([]float32, 1024)
	s.dev.Await(s.dev.Download(tensor.Bytes(got), x))
	if want := float32(1024); got[0] != 3 || got[1] != want || got[1023] != want {
		t.Errorf("after the kernels %v and %v, wants 3 and %v", got[0], got[1], want)
	}
	pinned, err := s.dev.Alloc(64, tensor.Pinned)
	if err != nil {
		t.Fatal(err)
	}
	defer s.dev.Free(pinned)
	s.dev.Await(s.dev.Download(pinned.Host(), vec(b, tensor.F32, 16)))
	if v := vec(pinned, tensor.F32, 16).Float32(); v[0] != 3 {
		t.Errorf("pinned memory got %v, wants 3", v[0])
	}
	if err := s.dev.Sync(); err != nil {
		t.Error(err)
	}
}
