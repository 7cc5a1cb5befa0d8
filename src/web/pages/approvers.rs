//! Who may decide an approval, in words. The engine decides for certain: this only explains.

use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::command::Rejection;
use crate::engine::protocol::Approvers;
use crate::engine::state::Approval;

/// Why the viewer cannot decide. None: the viewer can.
pub fn bar(who: &Principal, approvers: &Approvers, four_eyes: bool, run_starter: &str) -> Option<String> {
    if four_eyes && who.user == run_starter {
        return Some(Rejection::FourEyes.to_string());
    }
    let holds = |role: &String| who.role.holds().iter().any(|held| held.as_str() == role);
    if !(approvers.users.contains(&who.user) || approvers.roles.iter().any(holds)) {
        return Some(Rejection::NotAnApprover { who: approvers.in_words() }.to_string());
    }
    allow(who, Permission::Decide, Resource::Any).err().map(|refusal| refusal.message)
}

/// The same of an approval as the engine knows it: nobody approves twice either.
pub fn bar_of(who: &Principal, approval: &Approval, run_starter: &str) -> Option<String> {
    if approval.votes.iter().any(|vote| vote.by == who.user) {
        return Some(Rejection::VotedBefore.to_string());
    }
    bar(who, &approval.approvers, approval.four_eyes, run_starter)
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
        Principal { user, role, method: AuthMethod::Session, scopes: None, address: None, request_id: None }
    }

    #[test]
    fn bar_says_why() {
        let supervisors = Approvers { roles: vec!["supervisor".to_owned()], users: vec!["bob".to_owned()] };
        let bar = |user: &str, role| bar(&who(user, role), &supervisors, true, "ada");
        assert_eq!(bar("eve", Role::Supervisor), None);
        assert_eq!(bar("eve", Role::Admin), None);
        assert!(bar("ada", Role::Supervisor).expect("barred").contains("started this run"));
        assert_eq!(bar("eve", Role::Staff).as_deref(), Some("This is for bob or a supervisor to decide."));
        assert!(bar("bob", Role::Auditor).expect("barred").contains("approvals:decide"));
    }
}
