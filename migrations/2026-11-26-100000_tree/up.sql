-- The Merkle tree over the activity log: which entry has which index, the tiles, and the signed heads.
--
-- The sequencer (one at a time, by a lock that its transaction holds) gives committed entries their index. It is the
-- only writer of these tables: the app's own role reads them.

-- The transaction that wrote the entry: rows below the oldest transaction under way are all there are, so that none
-- is ever passed over. The app may not give the column a value. Entries from before have 0.
ALTER TABLE activity_log ADD COLUMN txid bigint NOT NULL DEFAULT 0;
ALTER TABLE activity_log ALTER COLUMN txid SET DEFAULT (pg_current_xact_id()::text::bigint);
-- The sequencer: what was committed since its last pass.
CREATE INDEX activity_log_by_transaction ON activity_log (txid);

-- Entries of one stream that follow each other in the tree: first_seq has index first_index, and so on.
CREATE TABLE log_ranges (
    first_index bigint PRIMARY KEY CHECK (first_index >= 0),
    run_id      bigint NOT NULL,
    stream      bigint NOT NULL,
    first_seq   bigint NOT NULL CHECK (first_seq > 0),
    entries     bigint NOT NULL CHECK (entries > 0)
);
-- The index of an entry; and where a stream's entries end in the tree.
CREATE UNIQUE INDEX log_ranges_by_entry ON log_ranges (run_id, stream, first_seq);

-- Tiles as C2SP tlog-tiles has them: up to 256 hashes of 32 bytes each. Only those at the right edge change.
CREATE TABLE log_tiles (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index  bigint NOT NULL CHECK (index >= 0),
    hashes bytea NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    PRIMARY KEY (level, index)
);
-- Hashes do not compress.
ALTER TABLE log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- How far the tree has come. One row.
CREATE TABLE log_head (
    id         integer PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    size       bigint NOT NULL CHECK (size >= 0),
    -- Entries of this transaction and later ones have no index yet.
    next_txid  bigint NOT NULL,
    changed_at timestamptz NOT NULL
);
INSERT INTO log_head (size, next_txid, changed_at) VALUES (0, 0, clock_timestamp());

-- Signed heads (C2SP tlog-checkpoint), as they are served.
CREATE TABLE log_checkpoints (
    size      bigint PRIMARY KEY CHECK (size >= 0),
    root      bytea NOT NULL CHECK (length(root) = 32),
    note      text NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Public keys that sign checkpoints. One is active; a retired one may sign along for a while.
CREATE TABLE log_keys (
    vkey       text PRIMARY KEY,
    added_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz
);
-- Of two instances that start on a new log, one gives it its key.
CREATE UNIQUE INDEX log_keys_active ON log_keys ((true)) WHERE retired_at IS NULL;

-- Entries stand in order: what is added goes on where its stream ends, at no earlier time. An app whose clock is
-- more than a day behind is refused, so that nothing new can be given an old date. (The owner may, for a restore.)
CREATE FUNCTION refuse_log_disorder() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    SELECT a.run_id, a.stream, a.first, a.last, a.entries, a.earliest, b.seq AS before, b.t AS before_t INTO wrong
    FROM (SELECT run_id, stream, min(seq) AS first, max(seq) AS last, count(*) AS entries, min(t) AS earliest
          FROM added GROUP BY run_id, stream) a
    LEFT JOIN LATERAL (SELECT l.seq, l.t FROM public.activity_log l
          WHERE l.run_id = a.run_id AND l.stream = a.stream AND l.seq = a.first - 1) b ON true
    WHERE a.last - a.first + 1 <> a.entries OR (a.first > 1 AND b.seq IS NULL) OR b.t > a.earliest
       OR a.earliest < clock_timestamp() - interval '1 day'
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF wrong.last - wrong.first + 1 <> wrong.entries OR (wrong.first > 1 AND wrong.before IS NULL) THEN
        RAISE EXCEPTION 'the activity log has no gaps: entries % to % of run % do not follow what is there',
            wrong.first, wrong.last, wrong.run_id USING ERRCODE = 'check_violation';
    ELSIF wrong.before_t > wrong.earliest THEN
        RAISE EXCEPTION 'the activity log goes forward: an entry of run % is dated before the one it follows',
            wrong.run_id USING ERRCODE = 'check_violation';
    ELSIF NOT pg_has_role('hms_act_owner', 'MEMBER') THEN
        RAISE EXCEPTION 'an entry of run % is dated %: set the clock of this machine', wrong.run_id, wrong.earliest
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER in_order AFTER INSERT ON activity_log REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_log_disorder();
ALTER TABLE activity_log ENABLE ALWAYS TRIGGER in_order;

-- Verbs ---------------------------------------------------------------------------------------------------

REVOKE INSERT ON activity_log FROM hms_act_app;
GRANT INSERT (run_id, stream, seq, t, actor, type, step, attempt, status, leaf, leaf_hash, beside)
    ON activity_log TO hms_act_app;
GRANT SELECT ON log_ranges, log_tiles, log_head, log_checkpoints, log_keys TO hms_act_app, hms_act_auditor;
GRANT SELECT, INSERT ON log_ranges, log_checkpoints TO hms_act_sequencer;
GRANT SELECT, INSERT, UPDATE ON log_tiles, log_head, log_keys TO hms_act_sequencer;
