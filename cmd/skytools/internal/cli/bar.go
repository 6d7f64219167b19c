package cli

import (
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// oneBar is a progress bar on a terminal, and nothing elsewhere.
type oneBar struct {
	all *mpb.Progress
	bar *mpb.Bar
}

func (a *app) newBar(title string) *oneBar {
	if !a.ErrTTY || a.quiet {
		return &oneBar{}
	}
	all := mpb.New(mpb.WithOutput(a.Err), mpb.WithWidth(36), mpb.WithRefreshRate(120*time.Millisecond))
	return &oneBar{all, all.AddBar(1000, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name("  "+title+" ")), mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5})))}
}

// set says how much is done, 0 to 1.
func (b *oneBar) set(share float64) {
	if b.bar != nil {
		b.bar.SetCurrent(int64(share * 1000))
	}
}

func (b *oneBar) end() {
	if b.bar != nil {
		if !b.bar.Completed() {
			b.bar.Abort(true)
		}
		b.all.Wait()
	}
}
