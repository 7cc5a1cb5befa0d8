COMMENT ON COLUMN start_keys.body_hash IS NULL;
ALTER TABLE runs DROP COLUMN erasures;
DROP TABLE redactions;
DROP TABLE disclosures;
DROP FUNCTION refuse_disclosure_change();
