-- What a backup reads beside the log.

-- The keys of the runs that begin in a part of the log; and giving back the keys of starts that were refused.
CREATE INDEX start_keys_by_run ON start_keys (run_id);

-- How far each sequence has come: a restored database goes on behind that.
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO hms_act_app;
