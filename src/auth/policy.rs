//! The one policy. Every door (web, API, link, command line) asks [`allow`] before it does anything.
//!
//! Denied by default: a permission is held only if the user's role holds it and, for a bearer token, one of the
//! token's scopes holds it too. What depends on the state of a run (four eyes, "already decided") is the engine's.

use std::collections::BTreeSet;
use std::fmt;

/// What a user is. Admins hold supervisor and staff; supervisors hold staff; auditors change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Staff,
    Supervisor,
    Auditor,
    Admin,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Staff, Role::Supervisor, Role::Auditor, Role::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Staff => "staff",
            Role::Supervisor => "supervisor",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The roles that somebody with this role holds, this one included.
    pub fn holds(self) -> &'static [Role] {
        match self {
            Role::Staff => &[Role::Staff],
            Role::Supervisor => &[Role::Supervisor, Role::Staff],
            Role::Auditor => &[Role::Auditor],
            Role::Admin => &[Role::Admin, Role::Supervisor, Role::Staff],
        }
    }

    /// Whether anybody with this role may be allowed it; a token may hold less.
    pub fn may(self, permission: Permission) -> bool {
        permission.needs().iter().any(|scope| self.scopes().contains(scope))
            && permission.role().is_none_or(|role| self.holds().contains(&role))
    }

    fn scopes(self) -> &'static [Scope] {
        match self {
            Role::Staff => &[Scope::RunsRead, Scope::RunsWrite],
            Role::Supervisor => &[Scope::RunsRead, Scope::RunsWrite, Scope::ApprovalsDecide],
            Role::Auditor => &[Scope::RunsRead, Scope::LogRead],
            Role::Admin => &Scope::ALL,
        }
    }
}

/// What a bearer token may be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    RunsRead,
    RunsWrite,
    ApprovalsDecide,
    LogRead,
    ProtocolsWrite,
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 6] = [
        Scope::RunsRead,
        Scope::RunsWrite,
        Scope::ApprovalsDecide,
        Scope::LogRead,
        Scope::ProtocolsWrite,
        Scope::Admin,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::RunsRead => "runs:read",
            Scope::RunsWrite => "runs:write",
            Scope::ApprovalsDecide => "approvals:decide",
            Scope::LogRead => "log:read",
            Scope::ProtocolsWrite => "protocols:write",
            Scope::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// How somebody proved who they are. Goes into the log beside their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    Session,
    Token,
    CommandLine,
}

impl AuthMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            AuthMethod::Session => "session",
            AuthMethod::Token => "token",
            AuthMethod::CommandLine => "command line",
        }
    }
}

/// Somebody who is signed in, by whichever door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: String,
    pub role: Role,
    /// What the user belongs to: approvals may ask for a group. It grants no permission by itself.
    pub groups: Vec<String>,
    pub method: AuthMethod,
    /// What the token is limited to. None: the whole role (a session).
    pub scopes: Option<BTreeSet<Scope>>,
    /// Where the request came from.
    pub address: Option<String>,
    pub request_id: Option<String>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Start runs.
    StartRun,
    /// Tell the runs of an outside event.
    SendEvent,
    /// See a run, its plan, payload and entries.
    ReadRun,
    /// Cancel a run, or let a paused one go on.
    CancelRun,
    /// Do the work of steps, as a worker: claim it, and say what came of it.
    Work,
    /// Start a run again that is over.
    RerunRun,
    /// Pause a run, retry or skip a step, set a value.
    SteerRun,
    /// Move a run to another version of its protocol.
    MigrateRun,
    /// See what officials filed against runs.
    ReadOverrides,
    /// File and decide overrides.
    Override,
    /// See the list of what waits for a decision.
    ReadApprovals,
    /// Decide an approval.
    Decide,
    /// Read what is sealed in a run. Every reading is recorded.
    ReadSealed,
    /// See what was asked to be erased.
    ReadRedactions,
    /// Ask that something sealed is erased, and decide what others asked.
    Redact,
    /// See and export the activity log.
    ReadLog,
    /// See protocols (needed to start one).
    ReadProtocols,
    /// Write protocols, actions and agents.
    WriteProtocols,
    /// See actions and agents, whose configuration may name internal addresses.
    ReadActions,
    /// Manage users and tokens.
    ManageUsers,
}

impl Permission {
    /// The scopes of which one is needed; the first is the one that a refusal names.
    pub fn needs(self) -> &'static [Scope] {
        match self {
            Permission::StartRun
            | Permission::SendEvent
            | Permission::CancelRun
            | Permission::RerunRun
            | Permission::SteerRun
            | Permission::MigrateRun
            | Permission::Work => &[Scope::RunsWrite],
            Permission::ReadRun => &[Scope::RunsRead, Scope::LogRead],
            Permission::ReadApprovals | Permission::ReadOverrides => {
                &[Scope::ApprovalsDecide, Scope::RunsRead]
            }
            Permission::Decide | Permission::Override | Permission::Redact => &[Scope::ApprovalsDecide],
            Permission::ReadSealed | Permission::ReadRedactions => &[Scope::ApprovalsDecide, Scope::LogRead],
            Permission::ReadLog => &[Scope::LogRead],
            Permission::ReadProtocols => &[Scope::RunsRead, Scope::ProtocolsWrite],
            Permission::WriteProtocols | Permission::ReadActions => &[Scope::ProtocolsWrite, Scope::Admin],
            Permission::ManageUsers => &[Scope::Admin],
        }
    }

    /// The role that must be held beside the scope, where the scope alone says too little.
    pub fn role(self) -> Option<Role> {
        match self {
            Permission::SteerRun | Permission::Override | Permission::Redact => Some(Role::Supervisor),
            Permission::MigrateRun => Some(Role::Admin),
            Permission::StartRun
            | Permission::SendEvent
            | Permission::ReadRun
            | Permission::CancelRun
            | Permission::RerunRun
            | Permission::Work
            | Permission::ReadApprovals
            | Permission::ReadOverrides
            | Permission::Decide
            | Permission::ReadSealed
            | Permission::ReadRedactions
            | Permission::ReadLog
            | Permission::ReadProtocols
            | Permission::WriteProtocols
            | Permission::ReadActions
            | Permission::ManageUsers => None,
        }
    }
}

/// What the permission is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// The collection: what of it is visible is narrowed by [`sees_all_runs`].
    Any,
    Run {
        started_by: &'a str,
    },
}

/// What whoever was refused would need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Scope(Scope),
    Role(Role),
}

impl Missing {
    pub fn as_str(self) -> &'static str {
        match self {
            Missing::Scope(scope) => scope.as_str(),
            Missing::Role(role) => role.as_str(),
        }
    }
}

/// A refusal: 403, and an entry in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub missing: Missing,
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The one question. `Ok` only if both the role and, for a token, its scopes hold the permission.
pub fn allow(who: &Principal, permission: Permission, resource: Resource<'_>) -> Result<(), Refusal> {
    let needed = permission.needs();
    let role_holds = |scope: &Scope| who.role.scopes().contains(scope);
    let token_holds = |scope: &Scope| who.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope));
    let scope = needed.first().copied().unwrap_or(Scope::Admin);
    let missing = Missing::Scope(scope);
    if !needed.iter().any(role_holds) {
        let message =
            format!("Your role ({}) does not hold the permission {}.", who.role.as_str(), scope.as_str());
        return Err(Refusal { missing, message });
    }
    if let Some(role) = permission.role().filter(|role| !who.role.holds().contains(role)) {
        let message = format!("This takes the role {}; yours is {}.", role.as_str(), who.role.as_str());
        return Err(Refusal { missing: Missing::Role(role), message });
    }
    if !needed.iter().any(|scope| role_holds(scope) && token_holds(scope)) {
        let message = format!("This token lacks the scope {}.", scope.as_str());
        return Err(Refusal { missing, message });
    }
    match resource {
        Resource::Run { started_by } if !sees_all_runs(who) && started_by != who.user => Err(Refusal {
            missing,
            message: "Staff see the runs that they started. Ask a supervisor or an auditor.".to_owned(),
        }),
        Resource::Run { .. } | Resource::Any => Ok(()),
    }
}

/// Supervisors, auditors and admins see every run; staff see their own.
pub fn sees_all_runs(who: &Principal) -> bool {
    who.role != Role::Staff
}

#[cfg(test)]
mod tests;
