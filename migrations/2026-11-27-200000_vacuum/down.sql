-- The function stays as it is: its one line more harms nobody.
ALTER TABLE timers RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
ALTER TABLE work RESET (autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
ALTER TABLE work SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE event_waits RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_vacuum_cost_delay);
ALTER TABLE slots RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
ALTER TABLE subruns RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
ALTER TABLE approvals RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE events RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE activity_log_agency RESET (autovacuum_vacuum_insert_scale_factor);
