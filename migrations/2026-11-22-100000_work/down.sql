-- Nothing of the log is lost: what was claimed stands there. Work that is under way is lost to its workers.
DROP TABLE work;
