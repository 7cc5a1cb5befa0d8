DROP TRIGGER in_order ON activity_log;
DROP FUNCTION refuse_log_disorder();
DROP TABLE log_keys, log_checkpoints, log_head, log_tiles, log_ranges;
GRANT INSERT ON activity_log TO hms_act_app;
DROP INDEX activity_log_by_transaction;
ALTER TABLE activity_log DROP COLUMN txid;
