-- Lineages of reruns, what approvals have grown by, and overrides.

-- The first run of a chain of reruns: itself, unless it is a rerun.
ALTER TABLE runs ADD COLUMN lineage bigint;
UPDATE runs SET lineage = run_id;
ALTER TABLE runs ALTER COLUMN lineage SET NOT NULL;
-- What the runs of a lineage did, when one of them is run again.
CREATE INDEX runs_by_lineage ON runs (lineage, run_id);
-- Of a lineage one run is open at a time: what two of them did at once nobody could tell apart.
CREATE UNIQUE INDEX runs_open_lineage ON runs (lineage) WHERE closed_at IS NULL;

-- How many people must approve.
ALTER TABLE approvals ADD COLUMN quorum integer NOT NULL DEFAULT 1 CHECK (quorum > 0);
-- Who approved so far, while more are needed: [{"by", "at", "reason", "form"}].
ALTER TABLE approvals ADD COLUMN votes jsonb NOT NULL DEFAULT '[]';
ALTER TABLE approvals ADD COLUMN reminded_at timestamptz;
-- Nobody decided in time: since then more people may, and `approvers` names them too.
ALTER TABLE approvals ADD COLUMN escalated_at timestamptz;

CREATE SEQUENCE override_ids AS bigint;

-- What officials filed against runs: a projection of the log.
CREATE TABLE overrides (
    run_id        bigint NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    id            bigint NOT NULL,
    action        text NOT NULL CHECK (action IN ('pause', 'cancel', 'modify')),
    -- closed: the run ended before anybody decided.
    status        text NOT NULL CHECK (status IN ('pending', 'approved', 'modified', 'rejected', 'closed')),
    protocol_name text NOT NULL,
    run_starter   text NOT NULL,
    filed_by      text NOT NULL,
    reason        text NOT NULL,
    -- What the payload should get. json, not jsonb: a value comes back exactly as it was sent.
    new_value     json,
    filed_at      timestamptz NOT NULL,
    review_until  timestamptz NOT NULL,
    decided_by    text,
    decided_at    timestamptz,
    decision      text,
    -- What the payload got.
    merged        json,
    PRIMARY KEY (run_id, id)
);
-- /hitl/overrides/{id}, and all of them, newest first.
CREATE UNIQUE INDEX overrides_by_id ON overrides (id);
-- Those under review.
CREATE INDEX overrides_pending ON overrides (id) WHERE status = 'pending';

GRANT SELECT, INSERT, UPDATE ON overrides TO hms_act_app;
GRANT USAGE, SELECT, UPDATE ON SEQUENCE override_ids TO hms_act_app;
