use super::*;
use proptest::prelude::*;

fn found(text: &str) -> LogFilter {
    read(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("a time").with_timezone(&Utc)
}

#[test]
fn qualifiers_and_text_are_told_apart() {
    let filter =
        found(r##"actor:ada  Step:draft_letter run:#9001 type:step.failed status:failed clean "two words""##);
    assert_eq!(filter.actor.as_deref(), Some("ada"));
    assert_eq!(filter.step.as_deref(), Some("draft_letter"));
    assert_eq!(filter.run_id, Some(9001));
    assert_eq!(filter.type_name.as_deref(), Some("step.failed"));
    assert_eq!(filter.status.as_deref(), Some("failed"));
    assert_eq!(filter.texts, ["clean", "two words"]);
    assert_eq!(found("   "), LogFilter::default());
    assert_eq!(found(r#"actor:"Ada \"the\" \\ Lovelace""#).actor.as_deref(), Some(r#"Ada "the" \ Lovelace"#));
}

#[test]
fn only_letters_before_a_colon_make_a_qualifier() {
    for text in ["12:30", "=SUM(A1:B2)", "{\"risk\":\"high\"}", ":", "a.b:c", "\"actor:ada\""] {
        assert_eq!(found(text).texts.len(), 1, "{text}");
        assert!(found(text).actor.is_none());
    }
    assert_eq!(found("\"actor:ada\"").texts, ["actor:ada"]);
}

#[test]
fn days_and_times_are_read_as_they_are_meant() {
    assert_eq!(found("from:2026-11-22").from, Some(at("2026-11-22T00:00:00Z")));
    assert_eq!(found("to:2026-11-22").to, Some(at("2026-11-23T00:00:00Z")), "the last day is meant whole");
    assert_eq!(found("from:2026-11-22T14:00").from, Some(at("2026-11-22T14:00:00Z")));
    assert_eq!(found("from:2026-11-22T14:00:05+02:00").from, Some(at("2026-11-22T12:00:05Z")));
    assert_eq!(found("to:2026-11-22T14:00:00.123456Z").to, Some(at("2026-11-22T14:00:00.123456Z")));
    for text in
        ["from:yesterday", "from:2026-13-01", "to:0000-01-01", "to:99999-01-01", "from:-5", "to:2026-02-30"]
    {
        assert!(read(text).expect_err(text)[0].contains("takes a day"), "{text}");
    }
}

#[test]
fn each_mistake_is_told_with_what_to_write_instead() {
    for (text, told) in [
        ("actr:ada", "Did you mean actor:"),
        ("who:ada", "Did you mean actor:"),
        ("until:2026-11-22", "Did you mean to:"),
        ("colour:red", "There are actor:, step:, status:, type:, run:, from:, to:."),
        ("https://example.gov", "put them in quotes"),
        ("run:x", "A run is a number"),
        ("run:-1", "A run is a number"),
        ("run:9223372036854775808", "A run is a number"),
        ("actor:", "who did it"),
        ("actor:\"\"", "who did it"),
        ("\"\"", "Nothing stands between the quotes"),
        ("actor:ada actor:eve", "actor: stands here twice"),
        ("\"open", "not closed"),
        ("actor:\"open", "not closed"),
    ] {
        let problems = read(text).expect_err(text);
        assert!(problems.len() == 1 && problems[0].contains(told), "{text}: {problems:?}");
    }
    assert_eq!(read("run:x from:y colour:z").expect_err("three mistakes").len(), 3);
    assert!(found("actor:ada actor:ada").actor.is_some(), "the same again says nothing else");
    let long = format!("run:{}", "9".repeat(100_000));
    assert!(read(&long).expect_err("too long")[0].len() < 200);
}

#[test]
fn words_that_are_nearly_right_are_recognised() {
    let known = || ["step.failed", "step.done", "run.closed"].into_iter();
    assert_eq!(closest("step.faild", known()), Some("step.failed"));
    assert_eq!(closest("step.f", known()), Some("step.failed"));
    assert_eq!(closest("nothing", known()), None);
    assert_eq!(closest(&"x".repeat(1_000_000), known()), None);
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,12}",
        "[a-z]{1,5}:[a-z\"\\\\ ]{0,5}",
        any::<String>().prop_map(|text| text.replace('\0', "0")),
    ]
    .prop_filter("there is some", |text| !text.is_empty())
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    let micros = 0..4_000_000_000_000_000_i64;
    let any = micros.prop_map(|micros| DateTime::from_timestamp_micros(micros).expect("in range"));
    let midnight =
        (0..40_000_i64).prop_map(|day| DateTime::from_timestamp(day * 86_400, 0).expect("in range"));
    prop_oneof![any, midnight]
}

fn filter() -> impl Strategy<Value = LogFilter> {
    use proptest::option::of;
    let words = (of(word()), of(word()), of(word()), of(word()), proptest::collection::vec(word(), 0..4));
    (of(0..=i64::MAX), words, of(time()), of(time())).prop_map(
        |(run_id, (actor, step, type_name, status, texts), from, to)| LogFilter {
            run_id,
            actor,
            step,
            type_name,
            status,
            from,
            to,
            texts,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(filter in filter()) {
        let written = write(&filter);
        prop_assert_eq!(read(&written), Ok(filter), "{}", written);
    }

    #[test]
    fn reading_never_fails_but_in_words(text in any::<String>()) {
        if let Ok(filter) = read(&text) {
            prop_assert_eq!(read(&write(&filter)), Ok(filter));
        }
    }
}
