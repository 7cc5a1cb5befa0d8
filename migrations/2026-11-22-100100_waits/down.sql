REVOKE DELETE ON start_keys FROM hms_act_app;
DROP TABLE schedules, slots, subruns, event_waits, events;
DROP INDEX runs_by_parent;
ALTER TABLE runs DROP COLUMN parent_run_id;
DROP INDEX timers_due;
CREATE INDEX timers_due ON timers (due_at);
DELETE FROM timers WHERE kind <> 'max_minutes';
ALTER TABLE timers DROP CONSTRAINT timers_kind_check;
ALTER TABLE timers ADD CONSTRAINT timers_kind_check CHECK (kind IN ('max_minutes'));
