//! The tables of `migrations/`, as diesel sees them. By hand: `bigint[]` columns here hold no NULL elements, which
//! `diesel print-schema` cannot know.

diesel::table! {
    users (name) {
        name -> Text,
        role -> Text,
        password_hash -> Nullable<Text>,
        disabled_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        groups -> Array<Text>,
    }
}

diesel::table! {
    sessions (key_hash) {
        key_hash -> Bytea,
        user_name -> Nullable<Text>,
        state -> Jsonb,
        created_at -> Timestamptz,
        last_seen_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    token_keys (kid) {
        kid -> Text,
        public_key -> Bytea,
        created_at -> Timestamptz,
        retired_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    protocols (id) {
        id -> Int8,
        name -> Text,
        latest_version -> Int4,
        created_by -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    protocol_versions (protocol_id, version) {
        protocol_id -> Int8,
        version -> Int4,
        definition -> Json,
        created_by -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    actions (name) {
        name -> Text,
        kind -> Text,
        config -> Json,
        version -> Int4,
        updated_by -> Text,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    agents (name) {
        name -> Text,
        kind -> Text,
        config -> Json,
        version -> Int4,
        updated_by -> Text,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    instances (id) {
        id -> Int8,
        label -> Text,
        started_at -> Timestamptz,
        heartbeat_at -> Timestamptz,
    }
}

diesel::table! {
    runs (run_id) {
        run_id -> Int8,
        protocol_id -> Int8,
        protocol_version -> Int4,
        protocol_name -> Text,
        status -> Text,
        current_step -> Nullable<Text>,
        stalled -> Bool,
        version -> Int8,
        started_by -> Text,
        subject -> Text,
        instances -> Array<Int8>,
        salt -> Nullable<Bytea>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        closed_at -> Nullable<Timestamptz>,
        parent_run_id -> Nullable<Int8>,
        parent_step -> Nullable<Text>,
        lineage -> Int8,
        erasures -> Int4,
        archive_id -> Nullable<Int8>,
    }
}

diesel::table! {
    log_archives (id) {
        id -> Int8,
        place -> Text,
        before -> Timestamptz,
        runs -> Int8,
        entries -> Int8,
        archived_at -> Timestamptz,
        removed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    approvals (run_id, id) {
        run_id -> Int8,
        id -> Int8,
        step -> Text,
        title -> Text,
        status -> Text,
        approvers -> Jsonb,
        four_eyes -> Bool,
        run_starter -> Text,
        protocol_name -> Text,
        opened_at -> Timestamptz,
        due_at -> Nullable<Timestamptz>,
        decided_by -> Nullable<Text>,
        decided_at -> Nullable<Timestamptz>,
        reason -> Nullable<Text>,
        form -> Nullable<Jsonb>,
        quorum -> Int4,
        votes -> Jsonb,
        reminded_at -> Nullable<Timestamptz>,
        escalated_at -> Nullable<Timestamptz>,
        filled -> Jsonb,
        open_to -> Jsonb,
    }
}

diesel::table! {
    overrides (run_id, id) {
        run_id -> Int8,
        id -> Int8,
        action -> Text,
        status -> Text,
        protocol_name -> Text,
        run_starter -> Text,
        filed_by -> Text,
        reason -> Text,
        new_value -> Nullable<Json>,
        filed_at -> Timestamptz,
        review_until -> Timestamptz,
        decided_by -> Nullable<Text>,
        decided_at -> Nullable<Timestamptz>,
        decision -> Nullable<Text>,
        merged -> Nullable<Json>,
    }
}

diesel::table! {
    timers (run_id, step, kind) {
        run_id -> Int8,
        step -> Text,
        kind -> Text,
        attempt -> Int4,
        due_at -> Timestamptz,
    }
}

diesel::table! {
    work (run_id, step) {
        run_id -> Int8,
        step -> Text,
        attempt -> Int4,
        id -> Int8,
        action -> Text,
        available_at -> Timestamptz,
        worker -> Nullable<Text>,
        lease_token_hash -> Nullable<Bytea>,
        lease_seconds -> Nullable<Int4>,
        lease_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    events (id) {
        id -> Int8,
        name -> Text,
        key -> Nullable<Text>,
        payload -> Json,
        received_by -> Text,
        received_at -> Timestamptz,
        idempotency_key -> Nullable<Text>,
        body_hash -> Nullable<Bytea>,
        delivered_to -> Array<Int8>,
        taken_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    event_waits (run_id, step) {
        run_id -> Int8,
        step -> Text,
        name -> Text,
        key -> Nullable<Text>,
        event_id -> Nullable<Int8>,
    }
}

diesel::table! {
    subruns (run_id, child_run_id) {
        run_id -> Int8,
        child_run_id -> Int8,
        step -> Text,
        protocol_id -> Int8,
        protocol_version -> Int4,
        protocol_name -> Text,
        input -> Json,
        state -> Text,
    }
}

diesel::table! {
    slots (run_id) {
        run_id -> Int8,
        protocol_id -> Int8,
        key -> Text,
        capacity -> Int4,
        taken -> Bool,
    }
}

diesel::table! {
    schedules (protocol_id) {
        protocol_id -> Int8,
        version -> Int4,
        cron -> Nullable<Text>,
        time_zone -> Nullable<Text>,
        next_at -> Nullable<Timestamptz>,
        last_at -> Nullable<Timestamptz>,
        last_run_id -> Nullable<Int8>,
        waiting -> Bool,
    }
}

diesel::table! {
    start_keys (actor, key) {
        actor -> Text,
        key -> Text,
        body_hash -> Bytea,
        run_id -> Int8,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    activity_log (run_id, stream, seq) {
        run_id -> Int8,
        stream -> Int8,
        seq -> Int8,
        t -> Timestamptz,
        actor -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        step -> Nullable<Text>,
        attempt -> Nullable<Int4>,
        status -> Nullable<Text>,
        leaf -> Bytea,
        leaf_hash -> Bytea,
        beside -> Nullable<Json>,
        txid -> Int8,
    }
}

diesel::table! {
    log_ranges (first_index) {
        first_index -> Int8,
        run_id -> Int8,
        stream -> Int8,
        first_seq -> Int8,
        entries -> Int8,
    }
}

diesel::table! {
    log_tiles (level, index) {
        level -> Int2,
        index -> Int8,
        hashes -> Bytea,
    }
}

diesel::table! {
    log_head (id) {
        id -> Int4,
        size -> Int8,
        next_txid -> Int8,
        changed_at -> Timestamptz,
    }
}

diesel::table! {
    log_checkpoints (size) {
        size -> Int8,
        root -> Bytea,
        note -> Text,
        signed_at -> Timestamptz,
    }
}

diesel::table! {
    log_keys (vkey) {
        vkey -> Text,
        added_at -> Timestamptz,
        retired_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    disclosures (run_id, stream, seq, place) {
        run_id -> Int8,
        stream -> Int8,
        seq -> Int8,
        place -> Text,
        path -> Text,
        digest -> Text,
        disclosure -> Nullable<Text>,
        bytes -> Int4,
        exemption -> Nullable<Text>,
        erased_at -> Nullable<Timestamptz>,
        redaction_id -> Nullable<Int8>,
    }
}

diesel::table! {
    redactions (run_id, id) {
        run_id -> Int8,
        id -> Int8,
        path -> Text,
        status -> Text,
        protocol_name -> Text,
        run_starter -> Text,
        reason -> Text,
        filed_by -> Text,
        filed_at -> Timestamptz,
        decided_by -> Nullable<Text>,
        decided_at -> Nullable<Timestamptz>,
        decision -> Nullable<Text>,
        erased -> Nullable<Int8>,
    }
}

diesel::table! {
    settings (key) {
        key -> Text,
        value -> Text,
    }
}

diesel::joinable!(sessions -> users (user_name));
diesel::joinable!(protocol_versions -> protocols (protocol_id));
diesel::joinable!(approvals -> runs (run_id));
diesel::joinable!(overrides -> runs (run_id));
diesel::joinable!(redactions -> runs (run_id));
diesel::joinable!(start_keys -> runs (run_id));
diesel::joinable!(timers -> runs (run_id));
diesel::joinable!(work -> runs (run_id));
diesel::joinable!(runs -> log_archives (archive_id));
diesel::joinable!(subruns -> runs (child_run_id));
diesel::joinable!(schedules -> protocols (protocol_id));

diesel::allow_tables_to_appear_in_same_query!(sessions, users);
diesel::allow_tables_to_appear_in_same_query!(protocol_versions, protocols, schedules);
diesel::allow_tables_to_appear_in_same_query!(
    approvals,
    log_archives,
    overrides,
    redactions,
    runs,
    start_keys,
    subruns,
    timers,
    work
);
