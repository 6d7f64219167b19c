package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/skytools-go/skytools/runners/wal/backup"
)

// A want is a frame that has to be fetched.
type want struct{ file, frame int32 }

// Frames that lie close together are read at once.
const (
	closeBy = 256 << 10 // bytes between them
	atOnce  = 4 << 20   // bytes in all
)

// fetch reads what is wanted from a pack and writes it into files.
func (r *restoring) fetch(ctx context.Context, pack uint32, wants []want) error {
	at := func(w want) *backup.Frame { return &r.m.Files[w.file].Frames[w.frame] }
	slices.SortFunc(wants, func(a, b want) int { return cmp.Compare(at(a).Offset, at(b).Offset) })
	out := &output{r: r, file: -1}
	defer out.close()
	for len(wants) > 0 {
		from := int64(at(wants[0]).Offset)
		end := from
		n := 0
		for n < len(wants) {
			f := at(wants[n])
			if int64(f.Offset) > end+closeBy || n > 0 && int64(f.Offset)+int64(f.Length)-from > atOnce {
				break
			}
			end = max(end, int64(f.Offset)+int64(f.Length))
			n++
		}
		some := wants[:n]
		err := r.shelf.ReadPack(ctx, r.m.Packs[pack], backup.Extent{Offset: from, Length: end - from}, func(content []byte) error {
			for _, w := range some {
				f := at(w)
				plain, err := f.Unpack(content[int64(f.Offset)-from:][:f.Length], out.buf)
				if err != nil {
					return err
				}
				out.buf = plain
				if err := out.write(w, plain); err != nil {
					return &writeError{err}
				}
			}
			return nil
		})
		var write *writeError
		if errors.As(err, &write) {
			return write.error
		}
		if err != nil {
			return err
		}
		for _, w := range some {
			length := r.m.Files[w.file].FrameLength(int(w.frame))
			r.written.Add(length)
			r.progress(length)
		}
		wants = wants[n:]
	}
	return out.close()
}

// A writeError is no fault of the store that is being read.
type writeError struct{ error }

// An output writes frames, and keeps the file open that it wrote to last.
type output struct {
	r    *restoring
	file int32
	open *os.File
	buf  []byte
}

func (o *output) write(w want, plain []byte) error {
	f := &o.r.m.Files[w.file]
	if int64(len(plain)) != f.FrameLength(int(w.frame)) {
		return fmt.Errorf("%s: a frame of %d bytes where %d belong", f.Path, len(plain), f.FrameLength(int(w.frame)))
	}
	if o.file != w.file {
		if err := o.close(); err != nil {
			return err
		}
		opened, err := os.OpenFile(o.r.name(f), os.O_WRONLY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		o.open, o.file = opened, w.file
	}
	_, err := o.open.WriteAt(plain, int64(w.frame)*backup.FrameSize)
	return err
}

func (o *output) close() error {
	if o.open == nil {
		return nil
	}
	err := o.open.Close()
	o.open, o.file = nil, -1
	return err
}
