package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// earlier looks for what need not be written again: the newest complete backup, and
// packs of unfinished ones that came after it.
func (t *taking) earlier(ctx context.Context) (newest ID, err error) {
	shelf := t.writing.shelf
	all, err := shelf.List(ctx)
	if err != nil {
		return "", err
	}
	t.resumed, t.packs = map[Sum]Frame{}, map[Pack]uint32{}
	for i := len(all) - 1; i >= 0; i-- {
		e := all[i]
		newest = max(newest, e.ID)
		switch {
		case e.Notes[Tombstone]:
		case e.Complete && t.o.Full:
			return newest, nil
		case e.Complete:
			done, err := t.follow(ctx, e.ID)
			if err != nil || done {
				return newest, err
			}
		default:
			if err := t.resume(ctx, e.ID); err != nil {
				return "", err
			}
		}
	}
	return newest, nil
}

// follow takes a backup as the parent, if every required store has it, its packs can be
// read by the same people and its manifest is whole. A best-effort store that does not
// have it gets no manifest of this backup either.
func (t *taking) follow(ctx context.Context, id ID) (bool, error) {
	shelf := t.writing.shelf
	key := shelf.ManifestKey(id)
	there, err := shelf.everywhere(ctx, key)
	if err != nil || !there {
		return false, err
	}
	m, err := shelf.Load(ctx, id)
	if err != nil {
		var damaged *DamageError
		if errors.As(err, &damaged) {
			return false, nil
		}
		return false, err
	}
	if !sameRecipients(m.Recipients, shelf.Recipients) {
		return false, nil
	}
	t.parent, t.manifest.Parent = m, id
	t.leaveWithout(ctx, key)
	return true, nil
}

// leaveWithout leaves the best-effort stores out that do not have an object.
func (t *taking) leaveWithout(ctx context.Context, key string) {
	for _, s := range t.writing.shelf.Stores {
		if s.Required {
			continue
		}
		if _, err := s.Stat(ctx, key); err != nil {
			t.writing.leave(s, err)
		}
	}
}

// resume remembers the frames of an unfinished backup that every required store has.
func (t *taking) resume(ctx context.Context, id ID) error {
	shelf := t.writing.shelf
	for info, err := range shelf.Stores[0].List(ctx, shelf.prefix()+"pack/"+string(id)+"/") {
		if err != nil {
			return err
		}
		var n int
		if count, err := fmt.Sscanf(info.Key[strings.LastIndexByte(info.Key, '/')+1:], "%05d.index", &n); count != 1 || err != nil || !strings.HasSuffix(info.Key, ".index") {
			continue
		}
		if there, err := shelf.everywhere(ctx, info.Key); err != nil || !there {
			return err
		}
		text, err := read(ctx, shelf.Stores[0], info.Key, 0, -1)
		if err != nil {
			return err
		}
		var list index
		if err := json.Unmarshal(text, &list); err != nil || !sameRecipients(list.Recipients, shelf.Recipients) {
			continue
		}
		t.leaveWithout(ctx, info.Key)
		for _, f := range list.Frames {
			f.Pack = uint32(len(t.unfin))
			t.resumed[f.Sum] = f
		}
		t.unfin = append(t.unfin, Pack{Backup: id, N: n, Size: list.Size, Digest: list.Digest})
	}
	return nil
}

func filesOf(m *Manifest) map[string]*File {
	if m == nil {
		return nil
	}
	files := make(map[string]*File, len(m.Files))
	for i := range m.Files {
		files[m.Files[i].Path] = &m.Files[i]
	}
	return files
}
