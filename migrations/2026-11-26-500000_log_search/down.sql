DROP INDEX activity_log_by_status;
DROP INDEX activity_log_by_type;
DROP INDEX activity_log_by_step;
DROP INDEX activity_log_by_actor;
