-- What a backup reads beside the log.

-- The keys of the runs that begin in a part of the log; and giving back the keys of starts that were refused.
CREATE INDEX start_keys_by_run ON start_keys (run_id);

-- How far each sequence has come: a restored database goes on behind that. Ours by name: others may have theirs here.
GRANT SELECT ON SEQUENCE approval_ids, events_id_seq, instances_id_seq, override_ids, protocols_id_seq,
    redactions_id_seq, run_ids, work_id_seq TO hms_act_app;
