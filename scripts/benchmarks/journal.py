"""What the record answers when it holds very many deliveries, and whether a committer notices."""
import statistics

from . import filling
from .commits import KB, Committer
from .ground import PYTHON
from .local import spawn
from .ours import Ours, rule
from .race import Above, AtMost, Row, Side, race, show

QUESTIONS = [
    "--host host3", "--host nosuch", "--rule app-7", "--author author7", "--author once", "--revision 1000005",
    "--revision 1000001:1090000", "--state failed", "--state unknown,cancelled", "--since 2h", "--until 2020-09-14",
    "--package app-1000007", "--package .*nosuch", "--host host3 --state failed",
    "--author author7 --host host7 --state failed", "--host host3 --rule app-4", "--author author3 --until 2020-09-15",
]
LATEST = "SELECT * FROM deliveries ORDER BY id DESC LIMIT 20"
OPEN = "SELECT state, count(*) FROM deliveries WHERE state <> 'done' GROUP BY state"
IN_PYTHON = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"


class Installation:
    """One of ours that has delivered one commit, with its committer."""

    def __init__(self, ground, name):
        # What is on record is of 2020, and stays.
        self.ours = Ours(ground, name, rule(ground), "keep_history = 36500d\n")
        self.committer = Committer(ground, name, self.ours.hook_text())
        worker = self.ours.worker()
        self.committer.prepare(10 * KB)
        self.committer.commit()
        self.ours.wait_settled()
        ground.end(worker)

    def side(self, name):
        def after():
            self.ours.wait_settled()

        return Side(name, lambda: self.committer.commit()[1], lambda: self.committer.prepare(10 * KB), after)


def journal(ground):
    count = 100_000 if ground.is_quick else 1_000_000
    full, fresh = Installation(ground, "full"), Installation(ground, "fresh")
    filling.settled(full.ours, count)
    database = full.ours.state / "journal.sqlite"
    rounds = ground.rounds(20, 7)
    rows = []
    for title, words, query in (("`status`", ["status"], OPEN), ("`history --limit 20`", ["history", "--limit", "20"], LATEST)):
        programs = {"ours": full.ours.words(*words), "sqlite3": ["/usr/bin/sqlite3", "-readonly", database, query],
                    "python sqlite3": [PYTHON, "-c", IN_PYTHON, database, query]}
        taken = race([Side(name, lambda words=words: spawn(*words)) for name, words in programs.items()], rounds, 1)
        rows.append(Row.of(f"{title}, {count:,} settled deliveries", taken, [AtMost(0.020, "s")]))
    rows.append(filters(full.ours, count, rounds))
    with_worker = [one.ours.worker() for one in (full, fresh)]
    taken = race([full.side("ours"), fresh.side("with none")], ground.rounds(21, 9))
    for worker in with_worker:
        ground.end(worker)
    rows.append(Row.of(f"`svn commit` with our hook, {count:,} settled deliveries", taken, [Above("with none", 0.001, "s")]))
    return rows


def filters(ours, count, rounds):
    """The slowest of all filters, each asked alone."""
    asked = {question: ours.words("history", "--limit", "20", *question.split()) for question in QUESTIONS}
    sides = [Side(question, lambda words=words: spawn(*words)) for question, words in asked.items()]
    taken = race(sides, max(2, rounds // 3), 1)
    slowest = max(taken, key=lambda question: statistics.median(taken[question]))
    middle = statistics.median(statistics.median(seconds) for seconds in taken.values())
    row = Row(f"`history` with each of {len(QUESTIONS)} filters, {count:,} settled deliveries", taken[slowest], {}, [],
              note=f"the slowest: `{slowest}`; half of them {show(middle, 's')} or less")
    row.samples.update(taken)
    return row
