package londiste

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed sequence.sql
var sequenceSQL string

// RegisteredSequences reads every sequence that a queue's set knows.
var RegisteredSequences = sql.Catalog{Kind: "sequence", Text: sequenceSQL}

// Sequence is one row of [RegisteredSequences].
type Sequence struct {
	Queue string `json:"queue"`
	Name  string `json:"name"`
	Local bool   `json:"local"` // replicated on this node
}

// LocalAddSeq starts to replicate a sequence on a node; on the root its value is
// published at once.
func LocalAddSeq(queue, seq string) sql.Stmt {
	return sql.Exec("select * from londiste.local_add_seq($1, $2)", queue, seq)
}

// LocalRemoveSeq stops to replicate a sequence on a node; on the root it leaves
// the set, everywhere.
func LocalRemoveSeq(queue, seq string) sql.Stmt {
	return sql.Exec("select * from londiste.local_remove_seq($1, $2)", queue, seq)
}

// GlobalUpdateSeq tells a node below the root a sequence's published value.
func GlobalUpdateSeq(queue, seq string, value int64) sql.Stmt {
	return sql.Exec("select * from londiste.global_update_seq($1, $2, $3)", queue, seq, value)
}

// GlobalRemoveSeq tells a node that the set has a sequence no more.
func GlobalRemoveSeq(queue, seq string) sql.Stmt {
	return sql.Exec("select * from londiste.global_remove_seq($1, $2)", queue, seq)
}

// RootCheckSeqs publishes the sequences of a root that come near to what was
// published.
func RootCheckSeqs(queue string) sql.Stmt {
	return sql.Exec("select * from londiste.root_check_seqs($1)", queue)
}
