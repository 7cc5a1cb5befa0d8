-- Sealed values: salted disclosures beside the log, and who had which of them erased.

-- What the leaves of the log name by digest alone. A leaf, its hash and every proof stay as they are whatever happens
-- here: a disclosure is withheld, or its text is erased for good.
CREATE TABLE disclosures (
    run_id       bigint NOT NULL,
    stream       bigint NOT NULL DEFAULT 0,
    seq          bigint NOT NULL,
    -- JSON pointer from the top of the leaf.
    place        text NOT NULL,
    -- Which value of the payload it is, or is a copy of.
    path         text NOT NULL,
    -- As the leaf's `_sd` has it.
    digest       text NOT NULL CHECK (length(digest) = 43),
    -- Salt, name and value (RFC 9901). NULL: erased.
    disclosure   text,
    -- How long the value is, as JSON: the amount that is withheld.
    bytes        integer NOT NULL CHECK (bytes >= 0),
    -- Under which exemption it is withheld.
    exemption    text,
    erased_at    timestamptz,
    redaction_id bigint,
    PRIMARY KEY (run_id, stream, seq, place),
    CHECK ((disclosure IS NULL) = (erased_at IS NOT NULL) AND (disclosure IS NULL) = (redaction_id IS NOT NULL))
);

-- Nothing but erasing may ever happen to a row, and that once.
CREATE FUNCTION refuse_disclosure_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.disclosure IS NULL OR NEW.disclosure IS NOT NULL THEN
        RAISE EXCEPTION 'a disclosure can only be erased, and only once'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_erased BEFORE UPDATE ON disclosures
    FOR EACH ROW EXECUTE FUNCTION refuse_disclosure_change();
ALTER TABLE disclosures ENABLE ALWAYS TRIGGER only_erased;

-- Requests to erase, and what a second person made of them.
CREATE TABLE redactions (
    run_id        bigint NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    id            bigint GENERATED ALWAYS AS IDENTITY,
    path          text NOT NULL,
    status        text NOT NULL CHECK (status IN ('pending', 'approved', 'rejected')),
    protocol_name text NOT NULL,
    run_starter   text NOT NULL,
    reason        text NOT NULL,
    filed_by      text NOT NULL,
    filed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_by    text,
    decided_at    timestamptz,
    -- Why it was decided so.
    decision      text,
    -- How many disclosures were erased.
    erased        bigint,
    PRIMARY KEY (run_id, id),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL) AND (decided_by IS NULL) = (decision IS NULL))
);
-- /acts/redactions/{id}, and all of them, newest first.
CREATE UNIQUE INDEX redactions_by_id ON redactions (id);
-- Of one value one request is open at a time; and what waits for a decision.
CREATE UNIQUE INDEX redactions_pending ON redactions (run_id, path) WHERE status = 'pending';

-- What was erased lately: every instance forgets it.
CREATE INDEX redactions_erased ON redactions (decided_at) WHERE status = 'approved';

-- How often something of the run was erased: what an instance has in memory of it is then out of date, although its
-- log did not grow.
ALTER TABLE runs ADD COLUMN erasures integer NOT NULL DEFAULT 0;

-- The keys of starts hold no plain hash of a body any more: a sealed value in it could be guessed. From here on it is
-- an HMAC under the salt of the run, and erased with that.
COMMENT ON COLUMN start_keys.body_hash IS 'HMAC-SHA-256 of the body''s hash under the salt of the run';

GRANT SELECT, INSERT ON disclosures TO hms_act_app;
GRANT UPDATE (disclosure, erased_at, redaction_id) ON disclosures TO hms_act_app;
GRANT SELECT, INSERT, UPDATE ON redactions TO hms_act_app;
