-- What watches the clock and other runs: timers of every kind, outside events, sub-runs, concurrency slots, schedules.

-- Timers ---------------------------------------------------------------------------------------------------

-- The step is empty for a timer of the run as a whole.
ALTER TABLE timers DROP CONSTRAINT timers_kind_check;
ALTER TABLE timers ADD CONSTRAINT timers_kind_check
    CHECK (kind IN ('max_minutes', 'retry', 'wait', 'due', 'remind', 'grace'));
DROP INDEX timers_due;
-- What is due, the oldest first.
CREATE INDEX timers_due ON timers (due_at, run_id, step, kind);

-- Outside events -------------------------------------------------------------------------------------------

CREATE TABLE events (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    key             text,
    -- json, not jsonb: a value comes back exactly as it was written.
    payload         json NOT NULL,
    received_by     text NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- A delivery that is repeated under the same key is the same event.
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    -- SHA-256 of what was sent under the key.
    body_hash       bytea,
    -- The runs that it was matched with.
    delivered_to    bigint[] NOT NULL DEFAULT '{}',
    -- When the first of them had it. NULL: it is kept for whoever waits for it next.
    taken_at        timestamptz
);
-- A repeated delivery.
CREATE UNIQUE INDEX events_by_idempotency_key ON events (received_by, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- Events that nobody took, for a step that begins to wait.
CREATE INDEX events_kept ON events (name, key, id) WHERE taken_at IS NULL;
-- Removing old events.
CREATE INDEX events_by_time ON events (received_at);

-- Steps that wait for an event. A row is removed in the transaction that ends its step.
CREATE TABLE event_waits (
    run_id   bigint NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    step     text NOT NULL,
    name     text NOT NULL,
    -- NULL: any event of this name will do.
    key      text,
    -- The event that it was matched with, until the step has it.
    event_id bigint,
    PRIMARY KEY (run_id, step)
);
-- Who waits for an event that arrives.
CREATE INDEX event_waits_open ON event_waits (name, key) WHERE event_id IS NULL;
-- Whether an event is on its way to somebody, and what is to be delivered.
CREATE INDEX event_waits_matched ON event_waits (event_id) WHERE event_id IS NOT NULL;

-- Sub-runs -------------------------------------------------------------------------------------------------

-- The step of another run that a sub-run was started by. NULL: it is no sub-run.
ALTER TABLE runs ADD COLUMN parent_run_id bigint;
ALTER TABLE runs ADD COLUMN parent_step text;
-- The sub-runs of a run.
CREATE INDEX runs_by_parent ON runs (parent_run_id, parent_step) WHERE parent_run_id IS NOT NULL;

-- Sub-runs that are not settled: to be started, to be waited for, or to be stopped.
CREATE TABLE subruns (
    run_id           bigint NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    child_run_id     bigint NOT NULL,
    step             text NOT NULL,
    protocol_id      bigint NOT NULL,
    protocol_version integer NOT NULL,
    protocol_name    text NOT NULL,
    input            json NOT NULL,
    -- Withdrawn: the step is over, and does not wait for it any more.
    state            text NOT NULL CHECK (state IN ('open', 'withdrawn')),
    PRIMARY KEY (run_id, child_run_id)
);
-- Whose sub-run a run is that has ended.
CREATE UNIQUE INDEX subruns_by_child ON subruns (child_run_id);

-- Concurrency ----------------------------------------------------------------------------------------------

-- Runs of protocols with a concurrency limit that are not over.
CREATE TABLE slots (
    run_id      bigint PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    protocol_id bigint NOT NULL,
    key         text NOT NULL,
    -- How many of its key may be on their way at once.
    capacity    integer NOT NULL CHECK (capacity > 0),
    -- It has a place; otherwise it waits for one.
    taken       boolean NOT NULL
);
-- Who is on their way under a key, and who waits, in order.
CREATE INDEX slots_by_key ON slots (protocol_id, key, taken, run_id);

-- Schedules ------------------------------------------------------------------------------------------------

-- One row for each protocol; without a cron pattern, it has no schedule in its latest version.
CREATE TABLE schedules (
    protocol_id bigint PRIMARY KEY REFERENCES protocols (id) ON DELETE CASCADE,
    version     integer NOT NULL,
    cron        text,
    time_zone   text,
    -- NULL: never again.
    next_at     timestamptz,
    -- The last time that a run was started for, and that run.
    last_at     timestamptz,
    last_run_id bigint,
    -- Its time has come, and it waits until the last run is over.
    waiting     boolean NOT NULL DEFAULT false
);
-- What is due.
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;

-- Verbs ----------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT, UPDATE, DELETE ON events, event_waits, subruns, slots TO hms_act_app;
GRANT SELECT, INSERT, UPDATE ON schedules TO hms_act_app;
-- A start that is refused because its limit is full leaves no key behind.
GRANT DELETE ON start_keys TO hms_act_app;
