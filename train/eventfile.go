package train

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Writer appends events to a file, one line each, handed to the system at once:
// a killed process loses nothing it wrote. The first failure sticks; Close
// returns it.
type Writer struct {
	file *os.File
	err  error
}

// OpenWriter opens an event file for a run that goes on after step steps, 0 for
// a fresh one. What an earlier session wrote after that step, a Done or a
// broken last line is cut off, so that no step is listed twice. A step below 0
// cuts everything.
func OpenWriter(path string, step int) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err == nil {
		keep := int64(keepUntil(data, step))
		if err = f.Truncate(keep); err == nil {
			_, err = f.Seek(keep, 0)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return &Writer{file: f}, nil
}

// keepUntil is how many bytes of an event file belong to the first step steps.
func keepUntil(data []byte, step int) int {
	if step < 0 {
		return 0
	}
	kept := 0
	for {
		n := bytes.IndexByte(data[kept:], '\n')
		if n < 0 {
			return kept
		}
		e, err := DecodeEvent(data[kept : kept+n])
		if _, done := e.(Done); err != nil || done || e.at() > step {
			return kept
		}
		kept += n + 1
	}
}

// Observe writes an event.
func (w *Writer) Observe(e Event) {
	if w.err != nil {
		return
	}
	line, err := EncodeEvent(e)
	if err == nil {
		_, err = w.file.Write(append(line, '\n'))
	}
	w.err = err
}

// Err is the first failure.
func (w *Writer) Err() error { return w.err }

// Close syncs and closes the file and returns the first failure.
func (w *Writer) Close() error {
	return errors.Join(w.err, w.file.Sync(), w.file.Close())
}

// ReadEvents reads an event file. A last line that is not complete, as a killed
// process or one that is still writing leaves it, is passed over; any other
// broken line is an error that names it, returned with the events before it. A
// missing file gives an error that is fs.ErrNotExist.
func ReadEvents(path string) ([]Event, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	events, _, err := ParseEvents(data)
	if err != nil {
		return events, fmt.Errorf("%s:%w", path, err)
	}
	return events, nil
}

// ParseEvents reads the complete lines of an event file or of a part of one, and
// says how many bytes they were: whoever follows a growing file goes on there.
// The error begins with the number of the broken line.
func ParseEvents(data []byte) (events []Event, used int, err error) {
	for number := 1; ; number++ {
		n := bytes.IndexByte(data[used:], '\n')
		if n < 0 {
			return events, used, nil
		}
		e, err := DecodeEvent(data[used : used+n])
		if err != nil {
			return events, used, fmt.Errorf("%d: %w", number, err)
		}
		events = append(events, e)
		used += n + 1
	}
}

// missing reports whether err is that of a file that is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
