package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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

// A stretch of a pack, and what is wanted of it.
type stretch struct {
	pack   uint32
	extent backup.Extent
	wants  []want
}

func (r *restoring) frame(w want) *backup.Frame { return &r.m.Files[w.file].Frames[w.frame] }

// stretches cuts up what is wanted of a pack.
func (r *restoring) stretches(pack uint32, wants []want) (all []stretch) {
	slices.SortFunc(wants, func(a, b want) int { return cmp.Compare(r.frame(a).Offset, r.frame(b).Offset) })
	for len(wants) > 0 {
		from := int64(r.frame(wants[0]).Offset)
		end, n := from, 0
		for n < len(wants) {
			f := r.frame(wants[n])
			if int64(f.Offset) > end+closeBy || n > 0 && int64(f.Offset)+int64(f.Length)-from > atOnce {
				break
			}
			end = max(end, int64(f.Offset)+int64(f.Length))
			n++
		}
		all = append(all, stretch{pack, backup.Extent{Offset: from, Length: end - from}, wants[:n]})
		wants = wants[n:]
	}
	return all
}

// fetch reads what is wanted, by pack, and writes it into files.
func (r *restoring) fetch(ctx context.Context, wants map[uint32][]want) error {
	var all []stretch
	for _, pack := range slices.Sorted(maps.Keys(wants)) {
		all = append(all, r.stretches(pack, wants[pack])...)
	}
	return parallel(ctx, r.o.Workers, len(all), func(ctx context.Context, n int) error { return r.take(ctx, all[n]) })
}

// take reads a stretch and writes its frames.
func (r *restoring) take(ctx context.Context, s stretch) error {
	out := &output{r: r, file: -1}
	defer out.close()
	err := r.shelf.ReadPack(ctx, r.m.Packs[s.pack], s.extent, func(content []byte) error {
		for _, w := range s.wants {
			f := r.frame(w)
			plain, err := f.Unpack(content[int64(f.Offset)-s.extent.Offset:][:f.Length], out.buf)
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
	for _, w := range s.wants {
		length := r.m.Files[w.file].FrameLength(int(w.frame))
		r.written.Add(length)
		r.progress(length)
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
