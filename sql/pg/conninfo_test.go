package pg_test

import (
	"testing"

	"github.com/skytools-go/skytools/sql/pg"
)

func TestConceal(t *testing.T) {
	more := map[string]string{"application_name": "b", "passfile": "/srv/a b"}
	for _, c := range []struct{ name, dsn, open, password string }{
		{"words", "host=h password=x dbname=d", "host=h dbname=d application_name=b passfile='/srv/a b'", "x"},
		{"quoted words", `host = 'a\'b' password='x y' user=u`, `host='a\'b' user=u application_name=b passfile='/srv/a b'`, "x y"},
		{"what is replaced", "host=h application_name=old", "host=h application_name=b passfile='/srv/a b'", ""},
		{"a URL", "postgres://u:x@h:5433/d?sslmode=disable", "postgres://u@h:5433/d?application_name=b&passfile=%2Fsrv%2Fa%20b&sslmode=disable", "x"},
		{"a URL with the password behind", "postgresql://u@h/d?password=x", "postgresql://u@h/d?application_name=b&passfile=%2Fsrv%2Fa%20b", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PGPASSFILE", "/nowhere")
			t.Setenv("PGPASSWORD", "")
			open, password, err := pg.Conceal(c.dsn, more)
			if err != nil || open != c.open || password != c.password {
				t.Errorf("got %q, %q, %v; want %q, %q", open, password, err, c.open, c.password)
			}
		})
	}
	if _, _, err := pg.Conceal("host='h", nil); err == nil {
		t.Error("an open quote is accepted")
	}
}
