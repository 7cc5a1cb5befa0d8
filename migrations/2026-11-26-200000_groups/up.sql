-- Groups that users belong to, and how far approvals with slots have come.

-- Which groups a user belongs to. A group is there as long as somebody belongs to it.
ALTER TABLE users ADD COLUMN groups text[] NOT NULL DEFAULT '{}' CONSTRAINT users_groups_check CHECK (
    array_position(groups, NULL) IS NULL AND cardinality(groups) <= 100
    AND (cardinality(groups) = 0
         OR array_to_string(groups, ' ') ~ '^[a-z0-9][a-z0-9._@-]{0,63}( [a-z0-9][a-z0-9._@-]{0,63})*$')
);

-- Who fills which slot: [{"slot", "by"}].
ALTER TABLE approvals ADD COLUMN filled jsonb NOT NULL DEFAULT '[]';
-- Whose approval still counts: {"roles": [...], "users": [...], "groups": [...]}. Less than `approvers` once slots are
-- filled. The inbox asks for it.
ALTER TABLE approvals ADD COLUMN open_to jsonb;
UPDATE approvals SET open_to = approvers;
ALTER TABLE approvals ALTER COLUMN open_to SET NOT NULL;
