package restore

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"

	"github.com/skytools-go/skytools/runners/wal/backup"
)

// A finding finds out which frames are not in the directory. A large file is looked
// through in several places at once.
type finding struct {
	r       *restoring
	mu      sync.Mutex
	looks   []look
	wants   map[uint32][]want // by pack
	touched []bool            // by file: something of it is wanted
}

// A look is a stretch of a file that is there.
type look struct {
	file        int
	first, past int // frames
}

// framesAtOnce is how many frames one look has at most.
const framesAtOnce = 256

func (f *finding) find(ctx context.Context) error {
	if err := f.r.each(ctx, f.open); err != nil {
		return err
	}
	return parallel(ctx, f.r.o.Workers, len(f.looks), func(_ context.Context, n int) error { return f.look(f.looks[n]) })
}

// open makes a file of the right length. What lies beyond what there was is wanted.
func (f *finding) open(i int, file *backup.File) (err error) {
	out, err := os.OpenFile(f.r.name(file), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := errors.Join(f.r.own(out.Name()), out.Chmod(file.Mode|0o600)); err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	if info.Size() != file.Size {
		if err := out.Truncate(file.Size); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	there := 0
	for there < len(file.Frames) && int64(there)*backup.FrameSize+file.FrameLength(there) <= info.Size() {
		there++
	}
	for first := 0; first < there; first += framesAtOnce {
		f.looks = append(f.looks, look{i, first, min(first+framesAtOnce, there)})
	}
	for n := there; n < len(file.Frames); n++ {
		f.want(i, n)
	}
	return nil
}

// look wants the frames of a stretch that are others.
func (f *finding) look(l look) error {
	file := &f.r.m.Files[l.file]
	in, err := os.Open(f.r.name(file))
	if err != nil {
		return err
	}
	defer in.Close()
	buf := make([]byte, backup.FrameSize)
	for n := l.first; n < l.past; n++ {
		length := file.FrameLength(n)
		if _, err := in.ReadAt(buf[:length], int64(n)*backup.FrameSize); err != nil {
			return err
		}
		if backup.SumOf(buf[:length]) == file.Frames[n].Sum {
			f.r.progress(length)
			continue
		}
		f.mu.Lock()
		f.want(l.file, n)
		f.mu.Unlock()
	}
	return nil
}

func (f *finding) want(file, frame int) {
	pack := f.r.m.Files[file].Frames[frame].Pack
	f.wants[pack] = append(f.wants[pack], want{int32(file), int32(frame)})
	f.touched[file] = true
}
