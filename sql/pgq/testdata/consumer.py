"""Consumers for the tests: each notes what it gets in the table delivered, in the
transaction that finishes the batch. The kind is the first argument, the rest is as
the framework wants it.
"""

import sys

import pgq


def note(db, who, event):
    db.cursor().execute(
        "insert into delivered (who, ev_id, retry, data) values (%s, %s, %s, %s)",
        [who, event.ev_id, event.ev_retry or 0, event.ev_data])


class Retrying:
    """Wants every seventh event again the first time that it comes."""

    def process_event(self, db, event):
        note(db, self.job_name, event)
        if int(event.ev_data) % 7 == 0 and not event.ev_retry:
            event.tag_retry(0)
        else:
            event.tag_done()


class Plain(Retrying, pgq.Consumer):
    """Reads alone."""


class Member(Retrying, pgq.CoopConsumer):
    """Shares a consumer with other members."""


class Local(pgq.LocalConsumer):
    """Keeps its position in a file."""

    def process_local_event(self, db, batch_id, event):
        note(db, self.job_name, event)


KINDS = {"plain": Plain, "member": Member, "local": Local}

if __name__ == "__main__":
    KINDS[sys.argv[1]]("consumer", "db", sys.argv[2:]).start()
