package standby

import "context"

// Launch starts the server and waits until it lets somebody in.
func (s *Standby) Launch(ctx context.Context) error {
	o, err := s.owned()
	if err != nil {
		return err
	}
	if err := s.start(ctx, o); err != nil {
		return err
	}
	return s.until(ctx, "start", func(ctx context.Context) (bool, error) {
		p, err := s.progress(ctx)
		return err == nil && p.Replayed != nil, nil
	})
}

// Complaints are the problems of a state.
func (s *Standby) Complaints(st State) []string {
	st.Problems = nil
	st.complain(s)
	return st.Problems
}

// Copied is what a program that says this tells of its progress, in bytes.
func Copied(parts ...string) (told [][2]int64) {
	c := &copied{tell: func(done, total int64) { told = append(told, [2]int64{done, total}) }}
	for _, p := range parts {
		c.Write([]byte(p))
	}
	return told
}
