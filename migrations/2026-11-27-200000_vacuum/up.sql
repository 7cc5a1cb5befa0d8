-- Vacuuming, for years of use.

-- Queues: a row lives for seconds or days, and the next one wants its place. By their share of the table, which is
-- nearly empty or full of what waits, vacuuming would come late; so it comes by number, and in one go.
ALTER TABLE timers SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE work SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE event_waits SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE slots SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE subruns SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0);
-- Each row is changed once or twice and stays: a fifth of them dead would be a year's.
ALTER TABLE approvals SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
-- Rows that are only added, and pages over them that are only read: marked as seen by all while they are young, so that
-- an index alone answers, and no vacuum of a whole part of the log is ever due at once.
ALTER TABLE activity_log_agency SET (autovacuum_vacuum_insert_scale_factor = 0.02);
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid::regclass FROM pg_inherits
        WHERE inhparent = 'public.activity_log'::regclass AND inhrelid <> 'public.activity_log_agency'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_insert_scale_factor = 0.02)', part);
    END LOOP;
END $$;

-- The same for the parts that come: the function as it was, and one line more.
CREATE OR REPLACE FUNCTION ensure_log_partition(for_run bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    width CONSTANT bigint := 1000000;
    part  bigint := for_run / width;
    name  text := format('activity_log_%s', part);
    low   bigint := greatest(part * width, 1);
BEGIN
    IF for_run < 1 OR to_regclass(format('public.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('hms_act.ensure_log_partition'));
    IF to_regclass(format('public.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.activity_log FOR VALUES FROM (%s) TO (%s)',
                   name, low, (part + 1) * width);
    EXECUTE format('ALTER TABLE public.%I SET (autovacuum_vacuum_insert_scale_factor = 0.02)', name);
    EXECUTE format('CREATE TRIGGER append_only_partition BEFORE UPDATE OR DELETE OR TRUNCATE ON public.%I
                    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_log_change()', name);
    EXECUTE format('ALTER TABLE public.%I ENABLE ALWAYS TRIGGER append_only_partition', name);
END $$;
