-- The rights on sequences stay: other migrations gave most of them.
DROP INDEX start_keys_by_run;
