package standby

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

// passfile is where the password of the primary is, for the server and pg_rewind: beside
// the data directory, so that no backup of the standby holds it.
func (s *Standby) passfile() string { return s.Data + ".pgpass" }

// conninfo is primary_conninfo, without a password.
func (s *Standby) conninfo() (string, error) {
	open, password, err := s.reach()
	if err != nil || password == "" {
		return open, err
	}
	open, _, err = pg.Conceal(open, map[string]string{"passfile": s.passfile()})
	return open, err
}

// reach is how the server reaches its primary, and with which password.
func (s *Standby) reach() (open, password string, err error) {
	dsn := s.Conninfo
	if dsn == "" {
		dsn = s.Primary
	}
	open, password, err = pg.Conceal(dsn, map[string]string{"application_name": s.Name})
	if err == nil && password == "" && pg.User(dsn) == pg.User(s.Primary) {
		_, password, err = pg.Conceal(s.Primary, nil)
	}
	return open, password, err
}

// keepPassword writes the password where conninfo says that it is.
// Source: PostgreSQL documentation, 34.16 The Password File.
func (s *Standby) keepPassword(o owner) error {
	open, password, err := s.reach()
	if err != nil || password == "" {
		return err
	}
	escaped := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	line := fmt.Sprintf("*:*:*:%s:%s\n", escaped.Replace(pg.User(open)), escaped.Replace(password))
	if err := o.write(s.passfile(), []byte(line)); err != nil {
		return fmt.Errorf("write %s: %w", s.passfile(), err)
	}
	return nil
}

// forgetPassword removes the file again.
func (s *Standby) forgetPassword() error {
	if err := os.Remove(s.passfile()); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
