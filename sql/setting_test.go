package sql

import "testing"

func TestAlterSystem(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"work_mem", "8MB", `alter system set "work_mem" = '8MB'`},
		{"auto_explain.log_min_duration", "1s", `alter system set "auto_explain"."log_min_duration" = '1s'`},
		{"session_preload_libraries", `a, "b"`, `alter system set "session_preload_libraries" = 'a', 'b'`},
		{"log_line_prefix", "%m, it's", `alter system set "log_line_prefix" = '%m, it''s'`},
	} {
		if got := AlterSystem(c.name, c.value).Text; got != c.want {
			t.Errorf("%s; want %s", got, c.want)
		}
	}
}
