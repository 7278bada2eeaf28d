"""Journals that hold much, written by SQL: what settled long ago, and what is queued. It knows the journal's tables."""
import hashlib
import os
import sqlite3

from .ground import until

# Ten deliveries of each revision, as copies of one that is there.
RECORD = """
BEGIN;
CREATE TEMP TABLE one AS SELECT * FROM deliveries ORDER BY id DESC LIMIT 1;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {batches})
INSERT INTO batches (source, repository_id, revision, author, stamp, recorded_at, state, planned_at)
  SELECT 'revision', (SELECT min(id) FROM repositories), 1000000 + i, CASE WHEN i = 5 THEN 'once' ELSE 'author' || i % 40 END,
    's', 1600000000000 + i * 1000000, 'planned', 1600000000000 + i * 1000000 FROM n;
INSERT INTO packages (batch_id, path, action, sha256, size)
  SELECT id, 'trunk/app-' || revision, 'added', lower(hex(randomblob(32))), 1000 FROM batches WHERE revision > 1000000;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
INSERT INTO deliveries (batch_id, package_id, package, rule, rule_line, lane, host, login, ssh_port, ftp_port, dest_dir,
    connection, service, stops_lane, state, step, attempts, tries_used, queued_at, settled_at)
  SELECT b.id, p.id, 'app-' || b.revision, 'app-' || b.revision % 50, 1, 'l@host' || (i * 20 + b.revision % 20),
    'host' || (i * 20 + b.revision % 20), 'l', 22, 21, '/in', one.connection, one.service, 0,
    CASE WHEN b.revision % 1000 = 3 THEN 'failed' ELSE 'done' END, 'install', 1, 1, b.planned_at, b.planned_at + 5000
  FROM batches b JOIN packages p ON p.batch_id = b.id CROSS JOIN n CROSS JOIN one WHERE b.revision > 1000000;
COMMIT;
"""
# Queued like one that waits, each of another content.
QUEUED = """
INSERT INTO deliveries (batch_id, package_id, package, rule, rule_line, lane, host, login, ssh_port, ftp_port, dest_dir,
    connection, service, stops_lane, state, step, queued_at)
  SELECT o.batch_id, p.id, p.path, o.rule, o.rule_line, o.lane, o.host, o.login, o.ssh_port, o.ftp_port, o.dest_dir,
    o.connection, o.service, o.stops_lane, 'queued', 'export', o.queued_at
  FROM deliveries o JOIN packages p ON p.batch_id = o.batch_id WHERE o.id = ? AND p.id > ?;
"""


def opened(ours):
    connection = sqlite3.connect(ours.state / "journal.sqlite", isolation_level=None)
    connection.execute("PRAGMA synchronous = off")
    return connection


def settled(ours, count):
    """Beside the one that is there, so many that have settled."""
    connection = opened(ours)
    connection.executescript(RECORD.format(batches=count // 10))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def queued(ours, seed, count, real):
    """Has `count` deliveries stand in the lane of a host that is not up yet; the first `real` of them lie in the spool.

    `seed` is a file for that host: it is sent, and the others are copies of its delivery."""
    process = ours.ground.start(*ours.words("send", seed))
    waiting = "SELECT max(id) FROM deliveries WHERE state = 'waiting'"
    until("a delivery that waits", lambda: number(ours, waiting) is not None, 60, 0.01)
    process.kill()
    process.wait()
    connection = opened(ours)
    first = connection.execute(waiting).fetchone()[0]
    batch, package = connection.execute("SELECT batch_id, package_id FROM deliveries WHERE id = ?", (first,)).fetchone()
    connection.execute("BEGIN")
    for index in range(1, count):
        content = os.urandom(24)
        digest = hashlib.sha256(content).hexdigest()
        if index < real:
            (ours.state / "spool" / digest).write_bytes(content)
            (ours.state / "spool" / digest).chmod(0o600)
        connection.execute("INSERT INTO packages (batch_id, path, action, sha256, size) VALUES (?, ?, 'added', ?, 24)",
                           (batch, f"q-{index:07}", digest))
    connection.execute(QUEUED, (first, package))
    connection.execute("UPDATE deliveries SET due_at = 0, tries_used = 0 WHERE id = ?", (first,))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def number(ours, query):
    try:
        connection = sqlite3.connect(f"file:{ours.state}/journal.sqlite?mode=ro", uri=True)
        found = connection.execute(query).fetchone()[0]
        connection.close()
        return found
    except sqlite3.OperationalError:
        return None
