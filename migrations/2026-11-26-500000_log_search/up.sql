-- Indexes for searching the activity log by one column, newest first.
--
-- Every entry is written on the way of a run, so an index here costs every run. Each therefore holds only the entries
-- that are worth it: values that a good part of all entries have are found by going back along activity_log_by_time.
-- They are narrow: a value and a time; entries of the same microsecond are sorted when they are read. The predicates
-- and the first columns stand again in src/store/log_search/lead.rs, letter by letter.

-- The log page and the exports, by who did it, people and not the system.
CREATE INDEX activity_log_by_actor ON activity_log (actor, t) WHERE actor <> 'HMS-ACT';
-- The log page and the exports, by step, all rounds of it together.
CREATE INDEX activity_log_by_step ON activity_log (split_part(step, '#', 1), t) WHERE step IS NOT NULL;
-- The log page and the exports, by kind of entry.
CREATE INDEX activity_log_by_type ON activity_log (type, t)
    WHERE type NOT IN ('step.started', 'step.done', 'run.queued', 'run.closed');
-- The log page and the exports, by status.
CREATE INDEX activity_log_by_status ON activity_log (status, t)
    WHERE status NOT IN ('running', 'done', 'queued', 'completed');
