ALTER TABLE approvals DROP COLUMN open_to;
ALTER TABLE approvals DROP COLUMN filled;
ALTER TABLE users DROP COLUMN groups;
