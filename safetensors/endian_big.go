//go:build armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64

package safetensors

// The format is little-endian, and this package hands out and takes its bytes
// as they lie in memory. Building for a big-endian machine stops here rather
// than reading every weight wrong.
const _ = safetensorsNeedsALittleEndianMachine
