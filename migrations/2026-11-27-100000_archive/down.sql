DROP FUNCTION thin_log_checkpoints();
CREATE OR REPLACE FUNCTION refuse_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the activity log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
DROP TRIGGER archived_by_owner ON runs;
DROP TRIGGER archived_by_owner_alone ON runs;
DROP FUNCTION refuse_archiving();
DROP INDEX runs_archived;
ALTER TABLE runs DROP COLUMN archive_id;
DROP TABLE log_archives;
