//! `approvers` and `escalate_to`: roles, users and groups by name, or slots.

use super::super::reader::Reader;
use super::super::{ApproverSlot, Approvers, GROUP, is_user_name};
use super::hitl::MAX_QUORUM;
use crate::engine::expression::kind_of;
use crate::engine::seating::Seating;
use serde_json::Value;

/// What an approval may name as a role; every other name is a user, or a group.
const DECIDING_ROLES: [&str; 2] = ["supervisor", "admin"];
/// Roles whose holders may not decide anything.
const OTHER_ROLES: [&str; 2] = ["staff", "auditor"];
/// The most slots of one approval.
const MAX_SLOTS: usize = 20;

/// Who may decide. None where nobody is named, or nobody who could decide.
pub(super) fn approvers(reader: &mut Reader<'_>) -> Option<Approvers> {
    if !reader.value("approvers")?.is_object() {
        return people(reader, "approvers", "a list of them, or `{\"slots\": […]}`");
    }
    let slots = reader.object("approvers", "slots", slots)?;
    let approvers = Approvers { slots, ..Approvers::default() };
    if approvers.seats() > MAX_QUORUM {
        let message =
            format!("asks for {} people in all; at most {MAX_QUORUM} may have to agree.", approvers.seats());
        reader.beyond_schema("approvers", message);
    } else if !can_be_filled(&approvers.slots) {
        let message =
            "names too few people: nobody fills two slots, so some could never be filled. Name more.";
        reader.beyond_schema("approvers", message);
    }
    Some(approvers)
}

/// Roles, users and groups: one name, or a list.
pub(super) fn people(reader: &mut Reader<'_>, field: &'static str, or: &str) -> Option<Approvers> {
    let names: Vec<&str> = match reader.value(field)? {
        Value::String(name) => vec![name],
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect()
        }
        _ => {
            reader.problem(field, format!("must be a role, a user's name or a group (`group:legal`), {or}."));
            return None;
        }
    };
    let before = reader.problems.len();
    for (index, name) in names.iter().enumerate() {
        if OTHER_ROLES.contains(name) {
            let message = format!(
                "the role `{name}` may not decide, so nobody ever could. Name `supervisor`, `admin`, a user or a group."
            );
            reader.problem(field, message);
        } else if !is_user_name(name.strip_prefix(GROUP).unwrap_or(name)) {
            let message = format!(
                "`{name}` is neither a role (supervisor, admin) nor a user's name nor a group (`group:legal`)."
            );
            reader.problem(field, message);
        } else if names[..index].contains(name) {
            reader.problem(field, format!("`{name}` is named twice. Name each once."));
        }
    }
    if reader.problems.len() > before {
        return None;
    }
    let mut people = Approvers::default();
    for name in names {
        match name.strip_prefix(GROUP) {
            Some(group) => people.groups.push(group.to_owned()),
            None if DECIDING_ROLES.contains(&name) => people.roles.push(name.to_owned()),
            None => people.users.push(name.to_owned()),
        }
    }
    Some(people)
}

fn slots(reader: &mut Reader<'_>) -> Option<Vec<ApproverSlot>> {
    let Some(written) = reader.value("slots") else {
        reader.problem("slots", "is missing. Add `\"slots\": [{\"name\": …, \"approvers\": …}]`.");
        return None;
    };
    let Some(items) = written.as_array().filter(|items| (1..=MAX_SLOTS).contains(&items.len())) else {
        reader.problem("slots", format!("must be a list of 1 to {MAX_SLOTS} slots."));
        return None;
    };
    let (mut slots, whole) = (Vec::<ApproverSlot>::new(), items.len());
    for (index, item) in items.iter().enumerate() {
        let at = format!("slots[{index}]");
        let Value::Object(map) = item else {
            reader.problem(&at, format!("must be a slot (an object), not {}.", kind_of(item)));
            continue;
        };
        let mut inner = Reader::new(map, format!("{}.{at}", reader.path()));
        let read = slot(&mut inner);
        reader.problems.extend(inner.finish(|_| None));
        let Some(slot) = read else { continue };
        if slots.iter().any(|other| other.name == slot.name) {
            let message = format!("the slot `{}` is named twice. Give each a name of its own.", slot.name);
            reader.beyond_schema(&at, message);
        }
        slots.push(slot);
    }
    (slots.len() == whole).then_some(slots)
}

fn slot(reader: &mut Reader<'_>) -> Option<ApproverSlot> {
    for (field, example) in [("name", "legal"), ("approvers", "group:legal")] {
        if !reader.has(field) {
            reader.problem(field, format!("is missing. Add it, for example `\"{field}\": \"{example}\"`."));
        }
    }
    let (name, who) = (reader.name("name"), people(reader, "approvers", "or a list of them"));
    let count = reader.whole("count", 1..=MAX_QUORUM).unwrap_or(1);
    Some(ApproverSlot { name: name?, count, who: who? })
}

/// Whether the slots that name only single users name enough of them, each for one slot.
fn can_be_filled(slots: &[ApproverSlot]) -> bool {
    let by_name = |slot: &&ApproverSlot| slot.who.roles.is_empty() && slot.who.groups.is_empty();
    let named: Vec<ApproverSlot> = slots.iter().filter(by_name).cloned().collect();
    let mut seating = Seating::new(&named);
    let mut users: Vec<&String> = named.iter().flat_map(|slot| &slot.who.users).collect();
    users.sort();
    users.dedup();
    for user in users {
        let fits = named.iter().filter(|slot| slot.who.users.contains(user)).map(|slot| slot.name.clone());
        // Whoever finds no room now would find none later.
        seating.seat(user, &fits.collect::<Vec<_>>());
    }
    seating.is_full()
}
