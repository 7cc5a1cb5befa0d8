DROP TABLE overrides;
DROP SEQUENCE override_ids;
ALTER TABLE approvals DROP COLUMN quorum, DROP COLUMN votes, DROP COLUMN reminded_at, DROP COLUMN escalated_at;
ALTER TABLE runs DROP COLUMN lineage;
