//! The migration that begins to count what settles. Knows nothing of who reads the counts.

/// What the page and the figures of a site ask, counted when it happens: a million deliveries are not read for them,
/// and a figure does not go down when the deliveries behind it are pruned.
pub(super) const VERSION_6: &str = "
-- What settled in each hour (hours since 1970 in UTC), and the bytes that arrived.
CREATE TABLE settled_hours (
  hour       INTEGER NOT NULL,
  outcome    TEXT NOT NULL,
  deliveries INTEGER NOT NULL,
  bytes      INTEGER NOT NULL,
  PRIMARY KEY (hour, outcome)
) STRICT, WITHOUT ROWID;
-- How each target has served us last.
CREATE TABLE settled_lanes (
  lane          TEXT PRIMARY KEY,
  host          TEXT NOT NULL,
  login         TEXT NOT NULL,
  -- The last one that was done.
  done_at       INTEGER,
  done_id       INTEGER,
  -- The first one since that failed or is unknown.
  failing_since INTEGER
) STRICT, WITHOUT ROWID;
-- How long attempts took: those that took up to so many milliseconds, and more than the row below says.
CREATE TABLE attempt_durations (
  up_to_ms INTEGER PRIMARY KEY,
  attempts INTEGER NOT NULL,
  total_ms INTEGER NOT NULL
) STRICT;
INSERT INTO attempt_durations (up_to_ms, attempts, total_ms)
  VALUES (100, 0, 0), (250, 0, 0), (500, 0, 0), (1000, 0, 0), (2500, 0, 0), (5000, 0, 0), (10000, 0, 0),
    (30000, 0, 0), (60000, 0, 0), (300000, 0, 0), (900000, 0, 0), (3600000, 0, 0), (9223372036854775807, 0, 0);
-- What waits behind what, without reading the deliveries.
CREATE INDEX deliveries_standing ON deliveries (lane, state, queued_at) WHERE settled_at IS NULL;

CREATE TRIGGER deliveries_settled AFTER UPDATE OF state ON deliveries
WHEN NEW.state <> OLD.state AND NEW.state IN ('done', 'failed', 'unknown', 'cancelled')
BEGIN
  INSERT INTO settled_hours (hour, outcome, deliveries, bytes)
    VALUES (coalesce(NEW.settled_at, 0) / 3600000, NEW.state, 1, CASE NEW.state WHEN 'done'
      THEN coalesce((SELECT size FROM packages WHERE id = NEW.package_id), 0) ELSE 0 END)
    ON CONFLICT (hour, outcome) DO UPDATE SET deliveries = deliveries + 1, bytes = bytes + excluded.bytes;
  INSERT INTO settled_lanes (lane, host, login) VALUES (NEW.lane, NEW.host, NEW.login)
    ON CONFLICT (lane) DO NOTHING;
  UPDATE settled_lanes SET
    done_at = CASE NEW.state WHEN 'done' THEN NEW.settled_at ELSE done_at END,
    done_id = CASE NEW.state WHEN 'done' THEN NEW.id ELSE done_id END,
    failing_since = CASE NEW.state WHEN 'done' THEN NULL WHEN 'cancelled' THEN failing_since
      ELSE coalesce(failing_since, NEW.settled_at) END
    WHERE lane = NEW.lane;
END;
CREATE TRIGGER attempts_ended AFTER UPDATE OF ended_at ON attempts
WHEN OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL
BEGIN
  -- A clock that was set back meanwhile took no time.
  UPDATE attempt_durations SET attempts = attempts + 1, total_ms = total_ms + max(NEW.ended_at - NEW.started_at, 0)
    WHERE up_to_ms = (SELECT min(up_to_ms) FROM attempt_durations WHERE up_to_ms >= NEW.ended_at - NEW.started_at);
END;

INSERT INTO settled_hours (hour, outcome, deliveries, bytes)
  SELECT d.settled_at / 3600000, d.state, count(*), sum(CASE d.state WHEN 'done' THEN coalesce(p.size, 0) ELSE 0 END)
  FROM deliveries d JOIN packages p ON p.id = d.package_id WHERE d.settled_at IS NOT NULL GROUP BY 1, 2;
INSERT INTO settled_lanes (lane, host, login, done_at, done_id, failing_since)
  SELECT lane, max(host), max(login), max(CASE WHEN state = 'done' THEN settled_at END),
    max(CASE WHEN state = 'done' THEN id END),
    min(CASE WHEN state IN ('failed', 'unknown') AND dismissed_at IS NULL THEN settled_at END)
  FROM deliveries WHERE settled_at IS NOT NULL GROUP BY lane;
UPDATE attempt_durations SET (attempts, total_ms) =
  (SELECT count(*), coalesce(sum(max(ended_at - started_at, 0)), 0) FROM attempts
   WHERE ended_at IS NOT NULL AND ended_at - started_at <= attempt_durations.up_to_ms AND ended_at - started_at >
     coalesce((SELECT max(b.up_to_ms) FROM attempt_durations b WHERE b.up_to_ms < attempt_durations.up_to_ms),
       -9223372036854775807));
";
