-- The archive: runs that ended long ago and whose entries lie in a backup instead of here.
--
-- What stays is all that proofs need (the places in the tree, the tiles, the signed heads) and the projections. What
-- goes are the entries themselves. A run leaves with its whole lineage, so that no run that stays has a part elsewhere.

CREATE TABLE log_archives (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The backup that has the entries, as it was named.
    place       text NOT NULL,
    -- Every run in it ended before then.
    before      timestamptz NOT NULL,
    runs        bigint NOT NULL CHECK (runs > 0),
    entries     bigint NOT NULL CHECK (entries > 0),
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When the last of its entries was removed. NULL: that is under way, or was broken off and goes on with the next
    -- `hms-act archive`.
    removed_at  timestamptz
);

-- Which archive has the run's entries. NULL: they are in the log.
ALTER TABLE runs ADD COLUMN archive_id bigint;
-- The runs of an archive, in order.
CREATE INDEX runs_archived ON runs (archive_id, run_id) WHERE archive_id IS NOT NULL;

-- What is removed goes by that column, so only the owner sets it. (The trigger costs nothing where it is not named.)
CREATE FUNCTION refuse_archiving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'hms_act_owner' THEN
        RAISE EXCEPTION 'only the owner of the log moves runs to an archive' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER archived_by_owner BEFORE UPDATE OF archive_id ON runs
    FOR EACH ROW EXECUTE FUNCTION refuse_archiving();
ALTER TABLE runs ENABLE ALWAYS TRIGGER archived_by_owner;
CREATE TRIGGER archived_by_owner_alone BEFORE INSERT ON runs
    FOR EACH ROW WHEN (NEW.archive_id IS NOT NULL) EXECUTE FUNCTION refuse_archiving();
ALTER TABLE runs ENABLE ALWAYS TRIGGER archived_by_owner_alone;

-- Removing entries is the owner's, who says so in the same transaction: neither the app nor a slip of the hand does it.
CREATE OR REPLACE FUNCTION refuse_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_user = 'hms_act_owner'
        AND current_setting('hms_act.archiving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the activity log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

-- Of the heads that were signed more than a day ago, the last one of each hour stays: it covers what those before it
-- covered. The sequencer, which otherwise takes nothing out, may do that and no more.
CREATE FUNCTION thin_log_checkpoints() RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    DELETE FROM public.log_checkpoints WHERE size IN (
        SELECT size FROM (
            SELECT size, signed_at, lead(signed_at) OVER (ORDER BY size) AS next FROM public.log_checkpoints
            WHERE signed_at < clock_timestamp() - interval '1 day') old
        WHERE date_trunc('hour', next) = date_trunc('hour', signed_at))
$$;
REVOKE ALL ON FUNCTION thin_log_checkpoints() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thin_log_checkpoints() TO hms_act_sequencer;

GRANT SELECT ON log_archives TO hms_act_app, hms_act_auditor;
-- A restored database goes on behind the numbers that were given.
GRANT SELECT ON SEQUENCE log_archives_id_seq TO hms_act_app;
