use super::*;
use crate::audit::entry::{Draft, open, seal, seal_covered};
use crate::audit::leaf_hash;
use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

fn draft(detail: Value) -> Draft<'static> {
    Draft {
        origin: "example.gov/acts",
        run_id: 9001,
        stream: 0,
        seq: 1,
        prev: None,
        at: DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap(),
        actor: "staff",
        type_name: "run.queued",
        step: None,
        attempt: None,
        status: Some("queued"),
        checksum: None,
        detail,
    }
}

fn cover(pointer: &str, salt: u8) -> Cover {
    let path = "payload.applicant.ssn".to_owned();
    Cover { pointer: pointer.to_owned(), path, exemption: Some("b(6)".to_owned()), salt: [salt; 16] }
}

#[test]
fn digests_are_those_of_the_rfc() {
    // RFC 9901, section 4.2.3: the disclosure of `family_name`, and its digest.
    let text = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0";
    assert_eq!(digest(text), "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0");
    assert_eq!(read(text).unwrap(), ("family_name".to_owned(), json!("Möbius")));
}

#[test]
fn a_sealed_value_is_in_no_leaf_and_comes_back() {
    let detail = json!({"payload": {"applicant": {"ssn": "123-45-6789", "name": "Ada"}}});
    let sealed = seal_covered(&draft(detail.clone()), vec![cover("/payload/applicant/ssn", 7)]);
    let leaf = String::from_utf8(sealed.leaf.clone()).unwrap();
    assert!(leaf.starts_with(r#"{"_sd":[""#) && leaf.contains(r#""ssn":null"#), "{leaf}");
    assert!(!leaf.contains("123-45"), "{leaf}");
    assert_eq!(sealed.hash, leaf_hash(&sealed.leaf));
    let disclosure = &sealed.disclosures[0];
    assert_eq!((disclosure.place.as_str(), disclosure.bytes), ("/detail/payload/applicant/ssn", 13));
    assert_eq!(disclosure.value().unwrap(), Some(json!("123-45-6789")));
    let mut opened = open(&sealed.leaf, sealed.beside.as_ref()).unwrap();
    assert_eq!(opened.detail["payload"]["applicant"]["ssn"], Value::Null);
    opened.disclose(&sealed.disclosures).unwrap();
    assert_eq!(opened.detail, detail);
}

#[test]
fn an_erased_value_folds_to_erased_and_the_leaf_stays() {
    let sealed = seal_covered(&draft(json!({"a": {"b": 5}})), vec![cover("/a/b", 1)]);
    let erased = Disclosure { text: None, ..sealed.disclosures[0].clone() };
    let mut opened = open(&sealed.leaf, None).unwrap();
    opened.disclose(std::slice::from_ref(&erased)).unwrap();
    assert_eq!(opened.detail, json!({"a": {"b": "erased"}}));
    let mut shown = open(&sealed.leaf, None).unwrap();
    shown.veil(&sealed.disclosures).unwrap();
    assert_eq!(shown.detail, json!({"a": {"b": "sealed"}}));
    shown.veil(&[erased]).unwrap();
    assert_eq!(shown.detail, json!({"a": {"b": "erased"}}));
}

#[test]
fn a_missing_a_changed_and_a_foreign_disclosure_are_found() {
    let sealed = seal_covered(&draft(json!({"a": 5, "b": 6})), vec![cover("/a", 1), cover("/b", 2)]);
    let opened = open(&sealed.leaf, None).unwrap();
    let all = sealed.disclosures;
    assert_eq!(opened.check_disclosures(&all), Ok(()));
    assert!(opened.check_disclosures(&all[..1]).unwrap_err().contains("missing"));
    let other = seal_covered(&draft(json!({"a": 7})), vec![cover("/a", 3)]).disclosures.remove(0);
    let more = [all[0].clone(), all[1].clone(), other.clone()];
    assert!(opened.check_disclosures(&more).unwrap_err().contains("does not name"));
    let changed = Disclosure { text: other.text, ..all[0].clone() };
    let error = opened.check_disclosures(&[changed, all[1].clone()]).unwrap_err();
    assert!(error.contains("/detail/a is not the one"), "{error}");
    let moved = Disclosure { place: "/detail/c".to_owned(), ..all[0].clone() };
    assert!(opened.check_disclosures(&[moved, all[1].clone()]).is_err());
    let elsewhere = open(&seal(&draft(json!({"a": 5}))).leaf, None).unwrap();
    assert!(elsewhere.check_disclosures(&all[..1]).is_err());
}

#[test]
fn the_same_value_twice_has_two_digests() {
    let sealed = seal_covered(&draft(json!({"a": 5, "b": 5})), vec![cover("/a", 1), cover("/b", 2)]);
    assert_ne!(sealed.disclosures[0].digest, sealed.disclosures[1].digest);
    let opened = open(&sealed.leaf, None).unwrap();
    let mut sorted = opened.digests.clone();
    sorted.sort();
    assert_eq!(opened.digests, sorted);
}

#[test]
fn only_leaves_with_sealed_values_are_taken_for_such() {
    assert!(has_any(&seal_covered(&draft(json!({"a": 5})), vec![cover("/a", 1)]).leaf));
    assert!(!has_any(&seal(&draft(json!({"_sd": ["x"], "beside": 1}))).leaf));
    let large = seal_covered(&draft(json!({"a": 5, "b": "x".repeat(200_000)})), vec![cover("/a", 1)]);
    assert!(has_any(&large.leaf) && large.beside.is_some());
}

fn any_json() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[a-z/~\"\\\\é ]{0,12}".prop_map(Value::from),
    ];
    plain.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-c/~]{1,3}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sealed, at whatever places that do not lie in one another, comes back as it was.
    #[test]
    fn any_detail_comes_back_as_it_was(detail in any_json(), chosen in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4), large in any::<bool>()) {
        let mut detail = json!({"payload": detail, "marked": "SEALED-TEXT-9"});
        if large {
            detail["large"] = json!("y".repeat(70_000));
        }
        let mut pointers = Vec::new();
        pointers_of(&detail, String::new(), &mut pointers);
        let mut covers = vec![cover("/marked", 200)];
        for (number, index) in chosen.iter().enumerate() {
            let pointer = index.get(&pointers);
            let apart = |cover: &Cover| !inside(&cover.pointer, pointer) && !inside(pointer, &cover.pointer);
            if covers.iter().all(apart) {
                covers.push(cover(pointer, number as u8));
            }
        }
        let sealed = seal_covered(&draft(detail.clone()), covers);
        let text = String::from_utf8_lossy(&sealed.leaf).into_owned() + json!(sealed.beside).to_string().as_str();
        prop_assert!(!text.contains("SEALED-TEXT-9"));
        let mut opened = open(&sealed.leaf, sealed.beside.as_ref()).unwrap();
        opened.disclose(&sealed.disclosures).unwrap();
        prop_assert_eq!(opened.detail, detail);
    }
}

fn pointers_of(value: &Value, at: String, all: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    for (key, value) in members {
        let mut pointer = format!("{at}/");
        crate::engine::json::push_escaped(&mut pointer, &key);
        all.push(pointer.clone());
        pointers_of(value, pointer, all);
    }
}

fn inside(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A protocol that marks these paths, and a run of it with this payload: what is sealed of its first entry.
fn first_entry(marks: &[String], payload: &Value) -> (crate::audit::entry::Sealed, Value) {
    use crate::engine::apply::begin;
    use crate::engine::event::{Event, EventKind, Recorded};
    use crate::engine::ids::RunId;
    use crate::engine::protocol::Protocol;
    use crate::engine::redact::{learn, places, secrets};
    use crate::engine::state::ProtocolRef;
    let protocol = json!({"redact": marks, "tasks": [{"id": "only", "type": "script"}]});
    let protocol = std::sync::Arc::new(Protocol::parse(&protocol).unwrap());
    let kind = EventKind::RunQueued {
        protocol: ProtocolRef { id: 1, version: 1, name: "x".to_owned() },
        payload: payload.as_object().cloned().unwrap(),
        lineage: RunId(1),
        started_by: None,
        parent: None,
        rerun_of: None,
        reason: None,
        redact: Vec::new(),
        slot: None,
        via: None,
    };
    let event = Event { step: None, attempt: None, kind };
    let first = Recorded { at: DateTime::UNIX_EPOCH, actor: "a".to_owned(), event };
    let run = begin(RunId(1), &first, protocol, None, None).unwrap();
    let (kind, detail) = (&first.event.kind, first.event.kind.detail());
    let mut known = secrets(&run);
    learn(&run, None, kind, &detail, &mut known);
    let covers =
        places(&run, None, kind, &detail, &known).into_iter().enumerate().map(|(number, place)| Cover {
            pointer: place.pointer,
            path: place.path,
            exemption: place.exemption,
            salt: [number as u8; 16],
        });
    (seal_covered(&draft(detail.clone()), covers.collect()), detail)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is marked, in whatever payload: no marked text is in the leaf or beside it, and all of it comes back.
    #[test]
    fn no_marked_text_is_in_a_leaf(
        payload in proptest::collection::btree_map("[a-c]", any_json(), 1..4),
        path in proptest::collection::vec("[a-c*0-2]", 1..4),
        secret in "[A-Z]{3}-[0-9]{4}",
        copied in any::<bool>(),
    ) {
        let mut payload = Value::Object(payload.into_iter().collect());
        // The secret stands where the mark leads.
        let mut place = &mut payload;
        for key in path.iter().map(|key| if key == "*" { "any" } else { key }) {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[key];
        }
        *place = json!({"deep": [secret.clone()]});
        if copied {
            payload["copy"] = json!({"of": secret.clone(), "said": format!("It is {secret}, he said.")});
        }
        let marks = [format!("payload.{}", path.join("."))];
        let (sealed, detail) = first_entry(&marks, &payload);
        let text = String::from_utf8_lossy(&sealed.leaf).into_owned() + json!(sealed.beside).to_string().as_str();
        prop_assert!(!text.contains(&secret), "{text}");
        let mut opened = open(&sealed.leaf, sealed.beside.as_ref()).unwrap();
        opened.disclose(&sealed.disclosures).unwrap();
        prop_assert_eq!(opened.detail, detail);
    }
}
