-- A journal as version 1 made it, with what a day leaves in it. Never changed: such files are out there.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE repositories (
  id             INTEGER PRIMARY KEY,
  uuid           TEXT NOT NULL,
  path           TEXT NOT NULL,
  -- The first one that a hook named; the ledger begins there.
  first_revision INTEGER,
  recorded_at    INTEGER NOT NULL,
  UNIQUE (uuid, path)
) STRICT;

CREATE TABLE batches (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  source        TEXT NOT NULL CHECK (source IN ('revision', 'replay', 'send', 'directory')),
  repository_id INTEGER REFERENCES repositories (id),
  revision      INTEGER,
  cites         INTEGER REFERENCES batches (id),
  author        TEXT,
  rules_file    TEXT,
  netrc_file    TEXT,
  stamp         TEXT NOT NULL,
  recorded_at   INTEGER NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('recorded', 'plan_failed', 'planned')),
  plan_error    TEXT,
  plan_exit     INTEGER,
  plan_attempts INTEGER NOT NULL DEFAULT 0,
  due_at        INTEGER NOT NULL DEFAULT 0,
  planned_at    INTEGER
) STRICT;
-- The ledger: a revision is recorded once, whoever names it.
CREATE UNIQUE INDEX batches_ledger ON batches (repository_id, revision) WHERE source = 'revision';
CREATE INDEX batches_unplanned ON batches (id) WHERE state <> 'planned';

CREATE TABLE packages (
  id       INTEGER PRIMARY KEY,
  batch_id INTEGER NOT NULL REFERENCES batches (id),
  path     TEXT NOT NULL,
  action   TEXT NOT NULL,
  skipped  TEXT,
  trouble  INTEGER NOT NULL DEFAULT 0,
  sha256   TEXT,
  size     INTEGER
) STRICT;
CREATE INDEX packages_of_batch ON packages (batch_id);
CREATE INDEX packages_by_digest ON packages (sha256) WHERE sha256 IS NOT NULL;

CREATE TABLE workers (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  pid        INTEGER NOT NULL,
  role       TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER
) STRICT;

CREATE TABLE deliveries (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  batch_id      INTEGER NOT NULL REFERENCES batches (id),
  package_id    INTEGER NOT NULL REFERENCES packages (id),
  package       TEXT NOT NULL,
  rule          TEXT NOT NULL,
  rule_line     INTEGER NOT NULL,
  lane          TEXT NOT NULL,
  host          TEXT NOT NULL,
  login         TEXT NOT NULL,
  ssh_port      INTEGER NOT NULL,
  ftp_port      INTEGER NOT NULL,
  dest_dir      TEXT NOT NULL,
  connection    TEXT NOT NULL,
  service       TEXT NOT NULL,
  stops_lane    INTEGER NOT NULL,
  state         TEXT NOT NULL CHECK
    (state IN ('queued', 'running', 'waiting', 'done', 'failed', 'unknown', 'cancelled')),
  step          TEXT NOT NULL CHECK (step IN ('export', 'upload', 'verify', 'install')),
  attempts      INTEGER NOT NULL DEFAULT 0,
  tries_used    INTEGER NOT NULL DEFAULT 0,
  worker_id     INTEGER REFERENCES workers (id),
  -- An attached install command runs: its outcome dies with the worker.
  attached      INTEGER NOT NULL DEFAULT 0,
  -- A detached one may have begun: its outcome is on the host until it is collected.
  install_began INTEGER NOT NULL DEFAULT 0,
  -- Counts the operator's decisions to run the install command again.
  run           INTEGER NOT NULL DEFAULT 1,
  due_at        INTEGER NOT NULL DEFAULT 0,
  transport     TEXT,
  remote_path   TEXT,
  exit_status   INTEGER,
  fault         TEXT,
  error         TEXT,
  queued_at     INTEGER NOT NULL,
  settled_at    INTEGER
) STRICT;
CREATE INDEX deliveries_open ON deliveries (lane, id) WHERE state IN ('queued', 'running', 'waiting');
CREATE INDEX deliveries_stopping ON deliveries (lane, id)
  WHERE stops_lane = 1 AND state IN ('failed', 'unknown');
CREATE INDEX deliveries_troubled ON deliveries (id) WHERE state IN ('failed', 'unknown');
CREATE INDEX deliveries_of_batch ON deliveries (batch_id);
CREATE INDEX deliveries_of_package ON deliveries (package_id);

CREATE TABLE attempts (
  id             INTEGER PRIMARY KEY,
  delivery_id    INTEGER NOT NULL REFERENCES deliveries (id),
  number         INTEGER NOT NULL,
  worker_id      INTEGER NOT NULL REFERENCES workers (id),
  started_at     INTEGER NOT NULL,
  ended_at       INTEGER,
  step           TEXT,
  outcome        TEXT,
  transport      TEXT,
  fingerprint    TEXT,
  detail         TEXT,
  verified       TEXT,
  fault          TEXT,
  error          TEXT,
  exit_status    INTEGER,
  output         BLOB,
  output_cut     INTEGER,
  UNIQUE (delivery_id, number)
) STRICT;

INSERT INTO meta VALUES ('journal_id', '0123456789abcdef');
INSERT INTO repositories VALUES (1, '5b1b9a5e-0000-4000-8000-000000000001', '/svn/packages', 41, 1770091500000);
INSERT INTO batches VALUES (1, 'revision', 1, 41, NULL, 'joan', '/etc/auto-dispatcher/general-dispatch-info.cfg', NULL,
  '20260203_040500', 1770091500000, 'planned', NULL, NULL, 0, 0, 1770091501000);
INSERT INTO batches VALUES (2, 'revision', 1, 42, NULL, NULL, NULL, NULL, '20260203_040510', 1770091510000,
  'plan_failed', 'there is no rules file', 3, 3, 4070908800000, NULL);
INSERT INTO packages VALUES (1, 1, 'trunk/app-1.tar', 'added', NULL, 0,
  'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', 3);
INSERT INTO packages VALUES (2, 1, 'trunk/README', 'added', 'no rule', 1, NULL, NULL);
INSERT INTO workers VALUES (1, 4711, 'detached', 1770091500500, 1770091600000);
INSERT INTO deliveries VALUES (1, 1, 1, 'app-1.tar', 'app', 3, 'ops@prod1', 'prod1', 'ops', 22, 21,
  '~/newcx/20260203_040500', '{"transports":["ssh","ftps","ftp"],"ftp_is_named":false,"identity_file":null,"host_key":"accept-new","known_hosts":null,"ftps_fingerprint":null,"ca_file":null,"connect_timeout_s":15,"stall_timeout_s":60}',
  '{"install_command":"./install.sh","file_mode":null,"install_timeout_s":3600,"install_mode":"tracked","install_idempotent":false,"retries":0,"retry_delay_s":1,"on_failure":"continue"}',
  0, 'failed', 'install', 1, 1, 1, 0, 0, 1, 0, 'ssh',
  '/home/ops/newcx/20260203_040500/app-1.tar', 7, 'permanent', 'the install command ended with exit status 7',
  1770091501000, 1770091507000);
INSERT INTO packages VALUES (3, 1, 'trunk/app-2.tar', 'added', NULL, 0, NULL, NULL);
INSERT INTO deliveries VALUES (2, 1, 3, 'app-2.tar', 'app', 3, 'ops@prod1', 'prod1', 'ops', 22, 21,
  '~/newcx/20260203_040500', '{"transports":["ssh","ftps","ftp"],"ftp_is_named":false,"identity_file":null,"host_key":"accept-new","known_hosts":null,"ftps_fingerprint":null,"ca_file":null,"connect_timeout_s":15,"stall_timeout_s":60}',
  '{"install_command":"./install.sh","file_mode":null,"install_timeout_s":3600,"install_mode":"tracked","install_idempotent":false,"retries":0,"retry_delay_s":1,"on_failure":"continue"}',
  0, 'queued', 'export', 0, 0, NULL, 0, 0, 1, 0, NULL, NULL, NULL, NULL, NULL, 1770091501000, NULL);
INSERT INTO attempts VALUES (1, 1, 1, 1, 1770091502000, 1770091507000, 'install', 'failed', 'ssh', 'SHA256:x',
  'SFTP', 'digest', 'permanent', 'the install command ended with exit status 7', 7, CAST('no such group
' AS BLOB), 0);
PRAGMA user_version = 1;
