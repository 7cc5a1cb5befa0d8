//! Who may decide an approval, in words. The engine decides for certain: this only explains.

use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::command::Rejection;
use crate::engine::protocol::{Approvers, and};
use crate::engine::seating::Filled;
use crate::engine::state::Approval;
use crate::store::approvals::ApprovalRow;
use crate::web::site::actor;

/// Why the viewer cannot decide. None: the viewer can.
pub fn bar(who: &Principal, approvers: &Approvers, four_eyes: bool, run_starter: &str) -> Option<String> {
    if four_eyes && who.user == run_starter {
        return Some(Rejection::FourEyes.to_string());
    }
    if approvers.lets(&actor(who)).is_none() {
        return Some(Rejection::NotAnApprover { who: approvers.in_words() }.to_string());
    }
    allow(who, Permission::Decide, Resource::Any).err().map(|refusal| refusal.message)
}

/// Whether the viewer may pass over it: with slots, only whoever fits them all.
pub fn may_pass(who: &Principal, approvers: &Approvers, four_eyes: bool, run_starter: &str) -> bool {
    bar(who, approvers, four_eyes, run_starter).is_none() && approvers.lets_pass(&actor(who)).is_some()
}

/// Why the viewer's approval does not count any more, though they may decide: their slots have their people.
pub fn not_needed(who: &Principal, row: &ApprovalRow) -> Option<String> {
    taken(who, &row.approvers(), &row.open_to(), &row.missing())
}

fn taken(who: &Principal, approvers: &Approvers, open_to: &Approvers, missing: &Approvers) -> Option<String> {
    let asker = actor(who);
    if approvers.slots.is_empty() || open_to.lets(&asker).is_some() {
        return None;
    }
    let (taken, missing) = (and(&approvers.fits(&asker)), missing.in_words());
    Some(Rejection::SlotTaken { taken, missing }.to_string())
}

/// `Approved for legal by ada; waits for security.` None: there are no slots.
pub fn slots_in_words(approvers: &Approvers, filled: &[Filled]) -> Option<String> {
    if approvers.slots.is_empty() {
        return None;
    }
    let by_slot = approvers.slots.iter().filter_map(|slot| {
        let by: Vec<String> =
            filled.iter().filter(|filled| filled.slot == slot.name).map(|filled| filled.by.clone()).collect();
        (!by.is_empty()).then(|| format!("for {} by {}", slot.name, and(&by)))
    });
    let approved: Vec<String> = by_slot.collect();
    let missing = approvers.missing(filled);
    let waits = (!missing.slots.is_empty()).then(|| format!("waits for {}", missing.in_words()));
    Some(match (approved.is_empty(), waits) {
        (true, Some(waits)) => format!("{}.", capital(&waits)),
        (true, None) => return None,
        (false, Some(waits)) => format!("Approved {}; {waits}.", and(&approved)),
        (false, None) => format!("Approved {}.", and(&approved)),
    })
}

/// The same of an approval as the engine knows it: nobody approves twice either.
pub fn bar_of(who: &Principal, approval: &Approval, run_starter: &str) -> Option<String> {
    if approval.votes.iter().any(|vote| vote.by == who.user) {
        return Some(Rejection::VotedBefore.to_string());
    }
    bar(who, &approval.approvers, approval.four_eyes, run_starter)
        .or_else(|| taken(who, &approval.approvers, &approval.open_to(), &approval.missing()))
}

/// Who may, and who may not.
pub fn who_may(approvers: &Approvers, four_eyes: bool, run_starter: &str) -> String {
    let not =
        if four_eyes { format!(", but not {run_starter}, who started this run") } else { String::new() };
    format!("This is for {} to decide{not}.", approvers.in_words())
}

/// With a capital at its beginning.
pub fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::policy::{AuthMethod, Role};

    fn who(user: &str, role: Role) -> Principal {
        let user = user.to_owned();
        Principal {
            user,
            role,
            groups: Vec::new(),
            method: AuthMethod::Session,
            scopes: None,
            address: None,
            request_id: None,
        }
    }

    #[test]
    fn bar_says_why() {
        let supervisors = Approvers {
            roles: vec!["supervisor".to_owned()],
            users: vec!["bob".to_owned()],
            ..Approvers::default()
        };
        let bar = |user: &str, role| bar(&who(user, role), &supervisors, true, "ada");
        assert_eq!(bar("eve", Role::Supervisor), None);
        assert_eq!(bar("eve", Role::Admin), None);
        assert!(bar("ada", Role::Supervisor).expect("barred").contains("started this run"));
        assert_eq!(bar("eve", Role::Staff).as_deref(), Some("This is for bob or a supervisor to decide."));
        assert!(bar("bob", Role::Auditor).expect("barred").contains("approvals:decide"));
    }

    #[test]
    fn slots_say_who_filled_them_and_what_is_missing() {
        let slots = serde_json::json!({"roles": [], "users": [], "slots": [
            {"name": "legal", "count": 1, "roles": [], "users": ["ada", "carl"]},
            {"name": "security", "count": 2, "roles": ["admin"], "users": []}]});
        let approvers: Approvers = serde_json::from_value(slots).expect("approvers");
        let filled = |all: &[(&str, &str)]| -> Vec<Filled> {
            let one = |(slot, by): &(&str, &str)| Filled { slot: (*slot).to_owned(), by: (*by).to_owned() };
            all.iter().map(one).collect()
        };
        let words = |all: &[(&str, &str)]| slots_in_words(&approvers, &filled(all)).expect("slots");
        assert_eq!(words(&[]), "Waits for legal and 2 of security.");
        assert_eq!(words(&[("legal", "ada")]), "Approved for legal by ada; waits for 2 of security.");
        assert_eq!(
            words(&[("legal", "ada"), ("security", "bob"), ("security", "eve")]),
            "Approved for legal by ada and for security by bob and eve."
        );
    }
}
