//! The log, searched: every way along an index finds what a plain look at every entry finds, and each entry has a
//! page.

use crate::support::client::Caller;
use crate::support::postgres::TestDatabase;
use crate::support::server::TestServer;
use chrono::{DateTime, Utc};
use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use hms_act::store::log_search::{self, COUNTED, Count, LogFilter, LogOrder, LogPosition, Walk};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

const PATIENT: Duration = Duration::from_secs(600);

fn at(microseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_225_600_000_000 + microseconds).expect("a time")
}

/// An entry as the tests know it: all that a search can ask for.
#[derive(Debug, Clone)]
struct Known {
    place: LogPosition,
    actor: &'static str,
    step: Option<&'static str>,
    type_name: &'static str,
    status: Option<&'static str>,
    text: String,
}

/// More entries than a window of the search has, many of them at the same moment: those of runs 1 to 700, a run that
/// is longer than a window, and those of two streams of run 0.
fn history() -> Vec<Known> {
    let mut all = Vec::new();
    let mut add = |place: LogPosition, actor, step, type_name, status| {
        // Some of what people write, among much that nobody looks for.
        let text = match place.run_id % 100 {
            7 => "100% \\\"in_order\\\", Straße".to_owned(),
            _ => format!("entry {} of {}", place.seq, place.run_id),
        };
        all.push(Known { place, actor, step, type_name, status, text });
    };
    for run in 1..=700 {
        for seq in 1..=6 {
            let place = LogPosition { at: at((run * 3 + seq) / 4), run_id: run, stream: 0, seq };
            let actor = if run % 70 == 0 { "ada" } else { "eve" };
            match seq {
                1 => add(place, actor, None, "run.queued", Some("queued")),
                2 => add(place, "HMS-ACT", Some("draft"), "step.started", Some("running")),
                3 if run % 50 == 0 => add(place, "HMS-ACT", Some("draft#2"), "step.failed", Some("failed")),
                3 => add(place, "HMS-ACT", Some("draft#2"), "step.done", Some("done")),
                4 => add(place, "HMS-ACT", Some("draft#20"), "approval.opened", Some("waiting")),
                5 => add(place, "boss", Some("draft_2"), "approval.decided", Some("done")),
                _ => add(place, "HMS-ACT", None, "run.closed", Some("completed")),
            }
        }
    }
    for seq in 1..=3_000 {
        let place = LogPosition { at: at(500 + seq / 7), run_id: 701, stream: 0, seq };
        let kind = if seq % 1000 == 1 { "step.failed" } else { "step.done" };
        add(place, "HMS-ACT", Some("many"), kind, Some(if seq % 1000 == 1 { "failed" } else { "done" }));
    }
    for seq in 1..=40 {
        for stream in [3, 9] {
            let place = LogPosition { at: at(seq * 20), run_id: 0, stream, seq };
            let actor = if seq == 40 { "ada" } else { "eve" };
            add(place, actor, None, "access.refused", Some("refused"));
        }
    }
    all
}

fn write(connection: &mut PgConnection, entries: &[Known]) {
    let text = |value: Option<&str>| value.map_or("NULL".to_owned(), |value| format!("'{value}'"));
    let row = |known: &Known| {
        let Known { place, actor, step, type_name, status, text: words } = known;
        let leaf = format!(r#"{{"detail":"{words}"}}"#);
        format!(
            "({}, {}, {}, '{}', '{actor}', '{type_name}', {}, {}, convert_to('{leaf}', 'UTF8'), sha256('x'))",
            place.run_id,
            place.stream,
            place.seq,
            place.at.to_rfc3339(),
            text(*step),
            text(*status),
        )
    };
    for part in entries.chunks(1000) {
        let rows: Vec<String> = part.iter().map(row).collect();
        let columns = "run_id, stream, seq, t, actor, type, step, status, leaf, leaf_hash";
        let insert = format!("INSERT INTO activity_log ({columns}) VALUES {}", rows.join(","));
        connection.batch_execute(&insert).expect("written");
    }
}

fn fits(known: &Known, filter: &LogFilter) -> bool {
    let same = |asked: &Option<String>, value: Option<&str>| asked.is_none() || asked.as_deref() == value;
    let in_step =
        |asked: &str| known.step.is_some_and(|step| step == asked || step.starts_with(&format!("{asked}#")));
    let leaf = format!(r#"{{"detail":"{}"}}"#, known.text).to_lowercase();
    let holds = |text: &String| {
        let text = text.to_lowercase();
        leaf.contains(&text) || leaf.contains(&text.replace('"', "\\\""))
    };
    filter.run_id.is_none_or(|run| run == known.place.run_id)
        && same(&filter.actor, Some(known.actor))
        && same(&filter.type_name, Some(known.type_name))
        && same(&filter.status, known.status)
        && filter.step.as_deref().is_none_or(in_step)
        && filter.from.is_none_or(|from| known.place.at >= from)
        && filter.to.is_none_or(|to| known.place.at < to)
        && filter.texts.iter().all(holds)
}

fn key(place: &LogPosition) -> (DateTime<Utc>, i64, i64, i64) {
    (place.at, place.run_id, place.stream, place.seq)
}

/// All pages, one after the other.
fn walked(connection: &mut PgConnection, filter: &LogFilter, limit: i64) -> Vec<LogPosition> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = log_search::page(connection, filter, cursor, limit, PATIENT).expect("a page");
        assert_eq!(page.searched_to, None, "there was time enough");
        assert!(page.entries.len() as i64 <= limit);
        found.extend(page.entries.iter().map(LogPosition::of));
        if (page.entries.len() as i64) < limit {
            return found;
        }
        cursor = found.last().copied();
    }
}

fn exported(connection: &mut PgConnection, filter: &LogFilter) -> Vec<LogPosition> {
    log_search::prepare_for_export(connection).expect("prepared");
    let mut walk = Walk::begin(connection, filter, LogOrder::OldestFirst, None).expect("a way");
    let mut found = Vec::new();
    while !walk.is_over() {
        let page = walk.exported(connection, 700).expect("a page");
        found.extend(page.iter().map(|entry| entry.position()));
    }
    found
}

fn filters() -> Vec<LogFilter> {
    let some = |text: &str| Some(text.to_owned());
    let blank = LogFilter::default;
    let mut filters = vec![blank()];
    for actor in ["ada", "eve", "boss", "HMS-ACT", "nobody"] {
        filters.push(LogFilter { actor: some(actor), ..blank() });
    }
    for step in ["draft", "draft#2", "draft_2", "many", "none", "dra", "draft%"] {
        filters.push(LogFilter { step: some(step), ..blank() });
    }
    for kind in ["step.failed", "step.done", "run.closed", "approval.opened", "access.refused", "step"] {
        filters.push(LogFilter { type_name: some(kind), ..blank() });
    }
    for status in ["failed", "done", "waiting", "refused", "completed", "gone"] {
        filters.push(LogFilter { status: some(status), ..blank() });
    }
    for run_id in [0, 1, 350, 701, 702] {
        filters.push(LogFilter { run_id: Some(run_id), ..blank() });
        filters.push(LogFilter { run_id: Some(run_id), type_name: some("step.failed"), ..blank() });
        filters.push(LogFilter { run_id: Some(run_id), actor: some("ada"), ..blank() });
    }
    for (from, to) in [(Some(100), Some(110)), (Some(510), None), (None, Some(3)), (Some(9), Some(9))] {
        let (from, to) = (from.map(at), to.map(at));
        filters.push(LogFilter { from, to, ..blank() });
        filters.push(LogFilter { from, to, status: some("waiting"), ..blank() });
        filters.push(LogFilter { from, to, run_id: Some(701), ..blank() });
        filters.push(LogFilter { from, to, type_name: some("step.done"), ..blank() });
    }
    for text in ["100% \"in_order\"", "100_", "straße", "ENTRY 3 OF 70", "no such words", "\\", "in_order\\"]
    {
        filters.push(LogFilter { texts: vec![text.to_owned()], ..blank() });
        filters.push(LogFilter { texts: vec![text.to_owned()], actor: some("boss"), ..blank() });
    }
    filters.push(LogFilter { texts: vec!["entry 3".to_owned(), "of 70".to_owned()], ..blank() });
    filters.push(LogFilter { actor: some("eve"), type_name: some("run.queued"), ..blank() });
    filters.push(LogFilter { actor: some("ada"), type_name: some("access.refused"), ..blank() });
    filters.push(LogFilter { step: some("draft"), status: some("failed"), ..blank() });
    filters.push(LogFilter { step: some("many"), status: some("failed"), run_id: Some(701), ..blank() });
    filters
}

#[test]
fn every_search_finds_exactly_what_fits_in_order() {
    let database = TestDatabase::new();
    let mut connection = database.connect_for_any_entry();
    let history = history();
    write(&mut connection, &history);
    let mut found_something = 0;
    for filter in filters() {
        let mut expected: Vec<LogPosition> =
            history.iter().filter(|known| fits(known, &filter)).map(|known| known.place).collect();
        expected.sort_by_key(key);
        assert_eq!(exported(&mut connection, &filter), expected, "oldest first: {filter:?}");
        expected.reverse();
        // Small pages take long: only where there is little, or much at the same moment.
        let limit = if expected.len() < 300 { 3 } else { 251 };
        assert_eq!(walked(&mut connection, &filter, limit), expected, "newest first: {filter:?}");
        let count = log_search::count(&mut connection, &filter).expect("counted");
        let is_right = match count {
            Count::Exactly(count) => count == expected.len() as i64,
            Count::AtLeast(count) => count <= expected.len() as i64,
        };
        assert!(is_right, "{count:?} and {}: {filter:?}", expected.len());
        found_something += usize::from(!expected.is_empty());
    }
    assert!(found_something > 40, "{found_something}");
}

#[test]
fn search_that_takes_too_long_says_how_far_it_came_and_goes_on_from_there() {
    let database = TestDatabase::new();
    let mut connection = database.connect_for_any_entry();
    write(&mut connection, &history());
    let filter = LogFilter { texts: vec!["entry 1 of 3\"".to_owned()], ..LogFilter::default() };
    let (mut cursor, mut pages, mut found) = (None, 0, Vec::new());
    loop {
        let page = log_search::page(&mut connection, &filter, cursor, 50, Duration::ZERO).expect("a page");
        found.extend(page.entries.iter().map(|entry| (entry.run_id, entry.seq)));
        pages += 1;
        let Some(place) = page.searched_to else { break };
        assert!(cursor.is_none_or(|before| key(&place) < key(&before)), "it goes back in time");
        cursor = Some(place);
    }
    assert_eq!(found, [(3, 1)]);
    assert!(pages > 2, "{pages}");
}

#[test]
fn log_without_end_is_not_counted_to_its_end() {
    let database = TestDatabase::new();
    let mut connection = database.connect_for_any_entry();
    connection
        .batch_execute(
            "INSERT INTO activity_log (run_id, stream, seq, t, actor, type, leaf, leaf_hash)
             SELECT 0, 9, n, now(), 'ada', 'user.signed_in', '\\x7b7d', sha256('\\x007b7d')
             FROM generate_series(1, 10500) AS n",
        )
        .expect("written");
    let mut count = |filter: LogFilter| log_search::count(&mut connection, &filter).expect("counted");
    assert_eq!(count(LogFilter::default()), Count::AtLeast(COUNTED + 1));
    let by = |name: &str| LogFilter { actor: Some(name.to_owned()), ..LogFilter::default() };
    assert_eq!(count(by("ada")), Count::AtLeast(COUNTED + 1));
    assert_eq!(count(by("eve")), Count::Exactly(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_has_a_page_for_whoever_may_read_it() {
    let server = TestServer::start().await;
    let (staff, supervisor, auditor) =
        (server.user("staff"), server.user("supervisor"), server.user("auditor"));
    let own = staff.start(7, json!({"license_id": 123})).await;
    let others = supervisor.start(7, json!({"license_id": 126})).await;
    for run in [own, others] {
        staff.wait_for_status(own, "waiting").await;
        supervisor.wait_for_status(run, "waiting").await;
    }
    let lines = auditor.replay(own).await;
    for (index, line) in lines.iter().enumerate() {
        let seq = index + 1;
        let page = auditor.get(&format!("/log/{own}/{seq}")).await.expect(200).text;
        assert!(page.contains(&format!("Entry {seq} of run {own}")), "{page}");
        assert!(!page.contains("were changed") && !page.contains("was changed"), "{page}");
        let leaf = auditor.get(&format!("/log/{own}/0/{seq}/leaf.json")).await.expect(200);
        assert!(leaf.header("content-disposition").contains("attachment"));
        assert_eq!(leaf.text, *line, "the very bytes");
    }
    staff.get(&format!("/log/{own}/1")).await.expect(200);
    staff.get(&format!("/log/{own}/0/1/leaf.json")).await.expect(200);
    staff.get(&format!("/log/{others}/1")).await.expect(403);
    staff.get(&format!("/log/{others}/0/1/leaf.json")).await.expect(403);
    staff.get("/log").await.expect(403);

    auditor.get("/acts/log.csv").await.expect(200);
    let ended = auditor.get("/acts/log.ndjson?type=log.export_ended").await.expect(200).text;
    let ended: serde_json::Value =
        serde_json::from_str(ended.lines().next().expect("an entry")).expect("JSON");
    let place = format!("/log/0/{}/{}", ended["stream"], ended["seq"]);
    let page = auditor.get(&place).await.expect(200).text;
    assert!(page.contains("An export of the log by auditor is complete"), "{page}");
    staff.get(&place).await.expect(403);
    supervisor.get(&place).await.expect(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_of_an_entry_says_when_its_bytes_or_its_link_do_not_hold() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    let tamper = format!(
        "SET ROLE hms_act_owner;
         ALTER TABLE activity_log_0 DISABLE TRIGGER USER;
         UPDATE activity_log_0 SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '\"v\":1', '\"v\":2'), 'UTF8')
           WHERE run_id = {run} AND seq = 3;
         UPDATE activity_log_0 SET leaf_hash = sha256('other') WHERE run_id = {run} AND seq = 5"
    );
    server.database.connect_as_owner().batch_execute(&tamper).expect("an owner can");
    let auditor = server.user("auditor");
    let page = async |seq: i64| auditor.get(&format!("/log/{run}/{seq}")).await.expect(200).text;
    assert!(page(3).await.contains("they were changed"));
    assert!(page(6).await.contains("one of the two was changed or taken out"));
    assert!(!page(2).await.contains("changed"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_the_log_that_cannot_be_are_refused() {
    let server = TestServer::start().await;
    let auditor = server.user("auditor");
    for (path, status) in [
        ("/log?search=actr%3Aada", 400),
        ("/log?search=run%3A-1", 400),
        ("/log?search=%22open", 400),
        ("/log?search=%00", 400),
        ("/log?search=actor%3Aada&actor=eve", 400),
        ("/log?from=yesterday", 400),
        ("/log?cursor=1.2.3", 400),
        ("/log?cursor=9223372036854775807.1.1.1", 400),
        ("/log?serach=x", 400),
        ("/log/9001/1?x=1", 400),
        ("/log/9001/1000000", 404),
        ("/log/9001/0", 404),
        ("/log/9001/x", 404),
        ("/log/x/1", 404),
        ("/log/-1/0/1", 404),
        ("/log/9223372036854775808/1", 404),
        ("/log/9223372036854775807/9223372036854775807", 404),
        ("/log/0/1", 404),
        ("/log/0/99999/1", 404),
        ("/log/0/99999/1/leaf.json", 404),
        ("/acts/log.csv?search=actr%3Aada", 400),
        ("/acts/log.csv?search=actor%3Aada&actor=eve", 400),
        ("/acts/log.csv?after=x", 400),
        ("/acts/log.csv?after=9001", 400),
        ("/acts/log.csv?after=9001.1000000", 400),
        ("/acts/log.csv?after=9223372036854775808.1", 400),
        ("/acts/log.ndjson?bom=1", 400),
    ] {
        let answer = Caller::send(auditor.request(Method::GET, path)).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
    }
    for path in [
        "/log?search=".to_owned(),
        "/log?search=%F0%9F%92%A9+%ff%fe".to_owned(),
        format!("/log?search={}", "x".repeat(4000)),
        "/log?run_id=%239001&status=waiting&q=%25_%5C".to_owned(),
        "/log?search=to%3A9999-12-31+from%3A0001-01-01".to_owned(),
        "/log?cursor=-1.0.0.0".to_owned(),
    ] {
        auditor.get(&path).await.expect(200);
    }
    server.stop().await;
}
