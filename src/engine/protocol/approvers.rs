//! Who may decide an approval: by role, by name, by group; or by slots, each of which needs people of its own.

use crate::engine::command::Actor;
use crate::engine::seating::Filled;
use serde::{Deserialize, Serialize};

/// What stands before the name of a group where roles, users and groups are named in one list.
pub const GROUP: &str = "group:";

/// Whoever holds one of the roles, belongs to one of the groups, or is named; or, with slots, whoever may fill one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvers {
    pub roles: Vec<String>,
    pub users: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Every slot needs its own people. Where there are slots, they alone say who may decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<ApproverSlot>,
}

/// One of several kinds of approval that are all needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproverSlot {
    pub name: String,
    /// How many different people must approve for it.
    pub count: u32,
    /// Who may. It has no slots of its own.
    #[serde(flatten)]
    pub who: Approvers,
}

impl Approvers {
    /// The role, the group (`group:legal`) or the name that lets somebody decide. None: they may not.
    pub fn lets(&self, actor: &Actor) -> Option<String> {
        if !self.slots.is_empty() {
            return self.slots.iter().find_map(|slot| slot.who.lets(actor));
        }
        if self.users.contains(&actor.name) {
            return Some(actor.name.clone());
        }
        let role = self.roles.iter().find(|role| actor.roles.contains(role)).cloned();
        let group = || self.groups.iter().find(|group| actor.groups.contains(group));
        role.or_else(|| group().map(|group| format!("{GROUP}{group}")))
    }

    /// The same, for somebody who decides it all alone: with slots, they must fit every one of them.
    pub fn lets_pass(&self, actor: &Actor) -> Option<String> {
        if self.slots.iter().any(|slot| slot.who.lets(actor).is_none()) {
            return None;
        }
        self.lets(actor)
    }

    /// The slots that somebody may fill, in their order.
    pub fn fits(&self, actor: &Actor) -> Vec<String> {
        let fits = self.slots.iter().filter(|slot| slot.who.lets(actor).is_some());
        fits.map(|slot| slot.name.clone()).collect()
    }

    /// How many people must approve where there are slots; 0 without.
    pub fn seats(&self) -> u32 {
        self.slots.iter().map(|slot| slot.count).sum()
    }

    /// These may decide too; with slots, for any of them.
    pub fn add(&mut self, more: &Approvers) {
        for slot in &mut self.slots {
            slot.who.add(more);
        }
        if !self.slots.is_empty() {
            return;
        }
        for (all, more) in
            [(&mut self.roles, &more.roles), (&mut self.users, &more.users), (&mut self.groups, &more.groups)]
        {
            let new: Vec<String> = more.iter().filter(|name| !all.contains(name)).cloned().collect();
            all.extend(new);
        }
    }

    /// What is still needed when so many slots are filled: the slots that lack somebody, with how many.
    pub fn missing(&self, filled: &[Filled]) -> Approvers {
        let lacks = |slot: &ApproverSlot| {
            let there = filled.iter().filter(|filled| filled.slot == slot.name).count() as u32;
            let count = slot.count.saturating_sub(there);
            (count > 0).then(|| ApproverSlot { count, ..slot.clone() })
        };
        Approvers { slots: self.slots.iter().filter_map(lacks).collect(), ..self.clone() }
    }

    /// Roles, users and groups, those of every slot together.
    pub fn together(&self) -> Approvers {
        let mut all = Approvers { slots: Vec::new(), ..self.clone() };
        self.slots.iter().for_each(|slot| all.add(&slot.who));
        all
    }

    /// For sentences: "a supervisor", "ada or the group legal", "legal and 2 of security".
    pub fn in_words(&self) -> String {
        if !self.slots.is_empty() {
            let slot = |slot: &ApproverSlot| match slot.count {
                1 => slot.name.clone(),
                more => format!("{more} of {}", slot.name),
            };
            return and(&self.slots.iter().map(slot).collect::<Vec<_>>());
        }
        let role = |role: &String| match role.as_str() {
            "staff" => "a member of staff".to_owned(),
            "auditor" | "admin" => format!("an {role}"),
            other => format!("a {other}"),
        };
        let groups = self.groups.iter().map(|group| format!("the group {group}"));
        let names: Vec<String> =
            self.users.iter().cloned().chain(groups).chain(self.roles.iter().map(role)).collect();
        names.join(" or ")
    }
}

/// What users and groups may be called: the same rule as the users table.
pub fn is_user_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.len() <= 64
        && name.starts_with(plain)
        && name.chars().all(|letter| plain(letter) || matches!(letter, '.' | '_' | '@' | '-'))
}

/// `a`, `a and b`, `a, b and c`.
pub fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(name: &str, roles: &[&str], groups: &[&str]) -> Actor {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Actor { name: name.to_owned(), roles: owned(roles), groups: owned(groups), via: None }
    }

    fn approvers(written: serde_json::Value) -> Approvers {
        serde_json::from_value(written).expect("approvers")
    }

    #[test]
    fn name_role_or_group_lets_somebody_decide() {
        let all = approvers(serde_json::json!({"roles": ["admin"], "users": ["bob"], "groups": ["legal"]}));
        assert_eq!(all.lets(&actor("bob", &[], &[])).as_deref(), Some("bob"));
        assert_eq!(all.lets(&actor("eve", &["admin"], &["legal"])).as_deref(), Some("admin"));
        assert_eq!(all.lets(&actor("eve", &["supervisor"], &["legal"])).as_deref(), Some("group:legal"));
        assert_eq!(all.lets(&actor("legal", &["supervisor"], &["security"])), None);
        assert_eq!(all.in_words(), "bob or the group legal or an admin");
    }

    #[test]
    fn whoever_passes_over_slots_must_fit_them_all() {
        let mut both = approvers(serde_json::json!({"roles": [], "users": [], "slots": [
            {"name": "legal", "count": 2, "roles": [], "users": [], "groups": ["legal"]},
            {"name": "security", "count": 1, "roles": [], "users": ["bob"]}]}));
        let lawyer = actor("eve", &["supervisor"], &["legal"]);
        assert_eq!(both.lets(&lawyer).as_deref(), Some("group:legal"));
        assert_eq!(both.lets_pass(&lawyer), None);
        assert_eq!(both.lets_pass(&actor("bob", &[], &["legal"])).as_deref(), Some("group:legal"));
        assert_eq!((both.in_words().as_str(), both.seats()), ("2 of legal and security", 3));
        both.add(&approvers(serde_json::json!({"roles": ["admin"], "users": []})));
        assert_eq!(both.fits(&actor("root", &["admin"], &[])), ["legal", "security"]);
        assert_eq!(both.together().groups, ["legal"]);
        assert_eq!(both.together().users, ["bob"]);
    }

    #[test]
    fn what_was_written_before_there_were_groups_reads_and_writes_the_same() {
        let before = serde_json::json!({"roles": ["supervisor"], "users": ["ada"]});
        assert_eq!(serde_json::to_value(approvers(before.clone())).expect("JSON"), before);
    }
}
