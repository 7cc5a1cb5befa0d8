-- Takes everything away, the log included: only an owner can, and only by asking for it by name.
DROP TABLE settings, activity_log, start_keys, timers, approvals, runs, instances, agents, actions,
    protocol_versions, protocols, token_keys, sessions, users CASCADE;
DROP SEQUENCE run_ids, approval_ids;
DROP FUNCTION ensure_log_partition(bigint);
DROP FUNCTION refuse_log_change();
