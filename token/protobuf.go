package token

import (
	"encoding/binary"
	"fmt"
	"math"
)

// field is one field of a protobuf message. Of num and bytes one is set.
// https://protobuf.dev/programming-guides/encoding
type field struct {
	tag   int
	wire  int
	num   uint64 // varint, or the bits of a fixed field
	bytes []byte // length-delimited
}

const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// eachField calls f for the fields of msg. base is where msg begins in the file.
func eachField(msg []byte, base int, f func(field, int) error) error {
	for at := 0; at < len(msg); {
		key, n := binary.Uvarint(msg[at:])
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29 {
			return fmt.Errorf("byte %d: not a protobuf field", base+at)
		}
		fd := field{tag: int(key >> 3), wire: int(key & 7)}
		start := at
		at += n
		rest := msg[at:]
		switch fd.wire {
		case wireVarint:
			if fd.num, n = binary.Uvarint(rest); n <= 0 {
				return fmt.Errorf("byte %d: field %d is cut off", base+start, fd.tag)
			}
			at += n
		case wire64, wire32:
			n = 8
			if fd.wire == wire32 {
				n = 4
			}
			if len(rest) < n {
				return fmt.Errorf("byte %d: field %d is cut off", base+start, fd.tag)
			}
			for i := range n {
				fd.num |= uint64(rest[i]) << (8 * i)
			}
			at += n
		case wireBytes:
			size, n := binary.Uvarint(rest)
			if n <= 0 || size > uint64(len(rest)-n) {
				return fmt.Errorf("byte %d: field %d needs %d bytes, %d are left", base+start, fd.tag, size, max(len(rest)-n, 0))
			}
			at += n
			fd.bytes = msg[at : at+int(size)]
			at += int(size)
		default:
			return fmt.Errorf("byte %d: field %d has wire type %d", base+start, fd.tag, fd.wire)
		}
		if err := f(fd, base+at-len(fd.bytes)); err != nil {
			return err
		}
	}
	return nil
}

// float is the value of a float field.
func (f field) float() float32 { return math.Float32frombits(uint32(f.num)) }

// int is the value of an int32 field; negative numbers take ten bytes.
func (f field) int() int32 { return int32(f.num) }
