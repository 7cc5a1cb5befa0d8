use super::{AuthMethod, Missing, Permission, Principal, Resource, Role, Scope, allow};
use Permission::{
    CancelRun, Decide, ManageUsers, MigrateRun, Override, ReadActions, ReadApprovals, ReadLog, ReadOverrides,
    ReadProtocols, ReadRedactions, ReadRun, ReadSealed, Redact, RerunRun, SendEvent, StartRun, SteerRun,
    Work, WriteProtocols,
};
use std::collections::BTreeSet;

fn person(role: Role) -> Principal {
    Principal {
        user: "somebody".to_owned(),
        role,
        groups: Vec::new(),
        method: AuthMethod::Session,
        scopes: None,
        address: None,
        request_id: None,
    }
}

fn token(role: Role, scopes: &[Scope]) -> Principal {
    Principal {
        method: AuthMethod::Token,
        scopes: Some(scopes.iter().copied().collect::<BTreeSet<_>>()),
        ..person(role)
    }
}

fn may(who: &Principal, permission: Permission) -> bool {
    allow(who, permission, Resource::Any).is_ok()
}

#[test]
fn every_role_holds_exactly_its_permissions() {
    // Columns in the order of Role::ALL: staff, supervisor, auditor, admin.
    let table = [
        (StartRun, [true, true, false, true]),
        (SendEvent, [true, true, false, true]),
        (ReadRun, [true, true, true, true]),
        (CancelRun, [true, true, false, true]),
        (Work, [true, true, false, true]),
        (RerunRun, [true, true, false, true]),
        (SteerRun, [false, true, false, true]),
        (MigrateRun, [false, false, false, true]),
        (ReadOverrides, [true, true, true, true]),
        (Override, [false, true, false, true]),
        (ReadApprovals, [true, true, true, true]),
        (Decide, [false, true, false, true]),
        (ReadSealed, [false, true, true, true]),
        (ReadRedactions, [false, true, true, true]),
        (Redact, [false, true, false, true]),
        (ReadLog, [false, false, true, true]),
        (ReadProtocols, [true, true, true, true]),
        (WriteProtocols, [false, false, false, true]),
        (ReadActions, [false, false, false, true]),
        (ManageUsers, [false, false, false, true]),
    ];
    for (permission, expected) in table {
        for (role, expected) in Role::ALL.into_iter().zip(expected) {
            assert_eq!(may(&person(role), permission), expected, "{role:?} {permission:?}");
        }
    }
}

#[test]
fn token_holds_no_more_than_its_user() {
    for role in Role::ALL {
        for (permission, everything) in
            [StartRun, SteerRun, MigrateRun, Override, Decide, ReadLog, WriteProtocols, ManageUsers]
                .map(|p| (p, token(role, &Scope::ALL)))
        {
            assert_eq!(
                may(&everything, permission),
                may(&person(role), permission),
                "{role:?} {permission:?}"
            );
        }
    }
}

#[test]
fn token_holds_no_more_than_its_scopes() {
    let reader = token(Role::Admin, &[Scope::RunsRead]);
    assert!(may(&reader, ReadRun) && may(&reader, ReadProtocols));
    for permission in [
        StartRun,
        CancelRun,
        RerunRun,
        SteerRun,
        MigrateRun,
        Work,
        Override,
        Decide,
        ReadLog,
        WriteProtocols,
        ReadActions,
        ManageUsers,
    ] {
        assert!(!may(&reader, permission), "{permission:?}");
    }
    assert!(!may(&token(Role::Admin, &[]), ReadRun));
}

#[test]
fn role_and_token_must_meet_in_one_scope() {
    // A supervisor may read runs by runs:read, not by log:read, which the role lacks.
    assert!(!may(&token(Role::Supervisor, &[Scope::LogRead]), ReadRun));
    assert!(may(&token(Role::Auditor, &[Scope::LogRead]), ReadRun));
}

#[test]
fn staff_see_their_own_runs_and_everybody_else_all() {
    let run_of = |started_by| Resource::Run { started_by };
    assert!(allow(&person(Role::Staff), ReadRun, run_of("somebody")).is_ok());
    assert!(allow(&person(Role::Staff), ReadRun, run_of("another")).is_err());
    for permission in [CancelRun, RerunRun] {
        assert!(allow(&person(Role::Staff), permission, run_of("somebody")).is_ok(), "{permission:?}");
        assert!(allow(&person(Role::Staff), permission, run_of("another")).is_err(), "{permission:?}");
    }
    for role in [Role::Supervisor, Role::Auditor, Role::Admin] {
        assert!(allow(&person(role), ReadRun, run_of("another")).is_ok(), "{role:?}");
    }
}

#[test]
fn refusal_says_whether_role_or_token_lacks_it() {
    let role = allow(&person(Role::Staff), Decide, Resource::Any).expect_err("staff decide nothing");
    assert_eq!(role.missing, Missing::Scope(Scope::ApprovalsDecide));
    assert_eq!(role.message, "Your role (staff) does not hold the permission approvals:decide.");
    let scope = allow(&token(Role::Supervisor, &[Scope::RunsRead]), Decide, Resource::Any);
    assert_eq!(
        scope.expect_err("the token lacks it").message,
        "This token lacks the scope approvals:decide."
    );
}

#[test]
fn where_the_scope_says_too_little_the_refusal_names_the_role() {
    let pause = allow(&person(Role::Staff), SteerRun, Resource::Any).expect_err("staff steer nothing");
    assert_eq!(pause.missing, Missing::Role(Role::Supervisor));
    assert_eq!(pause.message, "This takes the role supervisor; yours is staff.");
    let migrate = allow(&person(Role::Supervisor), MigrateRun, Resource::Any);
    assert_eq!(migrate.expect_err("only admins migrate").missing, Missing::Role(Role::Admin));
}

#[test]
fn names_are_read_back_and_nothing_else_is() {
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(role));
    }
    for scope in Scope::ALL {
        assert_eq!(Scope::parse(scope.as_str()), Some(scope));
    }
    assert_eq!((Role::parse("Admin"), Scope::parse("runs")), (None, None));
}

#[test]
fn users_table_allows_exactly_the_roles() {
    let migration = include_str!("../../../migrations/2026-11-22-000000_foundation/up.sql");
    let roles = Role::ALL.map(|role| format!("'{}'", role.as_str())).join(", ");
    assert!(migration.contains(&format!("CHECK (role IN ({roles}))")));
}
