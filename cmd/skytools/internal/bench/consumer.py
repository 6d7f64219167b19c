"""Reads a number of events as python3-pgq does it by default, and says how many it
got in a second after the first batch. Arguments: a configuration file and the number
of events."""

import sys
import time

import pgq


class Counter(pgq.Consumer):
    """Touches what an event holds, as any consumer would."""

    seen = 0
    size = 0

    def process_batch(self, db, batch_id, ev_list):
        for event in ev_list:
            self.seen += 1
            self.size += len(event.ev_data)
            event.tag_done()


if __name__ == "__main__":
    counter = Counter("counter", "db", ["-q", sys.argv[1]])
    while counter.seen == 0:
        counter.work()
    first, began = counter.seen, time.time()
    while counter.seen < int(sys.argv[2]):
        counter.work()
    print((counter.seen - first) / (time.time() - began))
