//! Who may sign in, and as what: changed by admins, every change an entry in the log.
//!
//! Never leaves the agency without an admin, and never lets one change their own rights: whoever must not keep
//! them is changed by another admin.

use super::doors::Doors;
use super::pages::approvers::capital;
use super::problem::AppError;
use super::site::{Site, Told};
use crate::auth::password::{self, PasswordError};
use crate::auth::policy::{Permission, Principal, Resource, Role};
use crate::engine::protocol::is_user_name;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::users::{self, User};
use serde_json::{Value, json};

/// What users and groups may be called.
pub const NAME_RULE: &str =
    "a name has 1 to 64 small letters, digits, `.`, `_`, `@` and `-`, and begins with a letter or digit";
/// The most groups of one user.
const MAX_GROUPS: usize = 100;

/// A new user.
///
/// # Errors
/// 403; 422 for a name or password that cannot be; 409 when the name is taken.
pub async fn create(
    site: &Site,
    doors: &Doors,
    who: &Principal,
    name: String,
    role: Role,
    groups: Vec<String>,
    password: String,
) -> Result<User, AppError> {
    site.permit(who, Permission::ManageUsers, Resource::Any).await?;
    if !is_user_name(&name) {
        return Err(AppError::field("$.name", format!("{}.", capital(NAME_RULE))));
    }
    let groups = checked(groups)?;
    let hash = hash(doors, password).await?;
    let wanted = name.clone();
    let user = site
        .change(who, move |connection| {
            let user = users::create(connection, &wanted, role.as_str(), &groups, Some(&hash))?;
            let told = user.as_ref().map(|user| {
                let detail = created(&user.name, &user.role, &user.groups);
                ("user.created", detail)
            });
            Ok((user, told))
        })
        .await?
        .ok_or_else(|| {
            AppError::field("$.name", format!("There is already a user {name}. Choose another name."))
        })?;
    Ok(user)
}

/// What the log says of a new user.
pub fn created(name: &str, role: &str, groups: &[String]) -> Value {
    let mut detail = json!({"user": name, "role": role});
    if !groups.is_empty() {
        detail["groups"] = json!(groups);
    }
    detail
}

/// Other groups. They count from the user's next request on; they sign in again.
///
/// # Errors
/// 403, also for oneself; 404; 422 for what cannot be a group's name.
pub async fn set_groups(
    site: &Site,
    who: &Principal,
    name: String,
    groups: Vec<String>,
) -> Result<User, AppError> {
    site.permit(who, Permission::ManageUsers, Resource::Any).await?;
    let groups = checked(groups)?;
    change(site, who, name, Change::Groups(groups)).await
}

/// Each once, by name.
pub fn sorted(mut groups: Vec<String>) -> Vec<String> {
    groups.sort();
    groups.dedup();
    groups
}

fn checked(groups: Vec<String>) -> Result<Vec<String>, AppError> {
    let groups = sorted(groups);
    if let Some(wrong) = groups.iter().find(|group| !is_user_name(group)) {
        let message = format!("`{wrong}` cannot be a group's name: {NAME_RULE}.");
        return Err(AppError::field("$.groups", message));
    }
    if groups.len() > MAX_GROUPS {
        let message = format!("A user belongs to at most {MAX_GROUPS} groups.");
        return Err(AppError::field("$.groups", message));
    }
    Ok(groups)
}

/// Another role. It counts from the user's next request on; they sign in again.
///
/// # Errors
/// 403, also for oneself; 404; 409 for the last admin.
pub async fn set_role(site: &Site, who: &Principal, name: String, role: Role) -> Result<User, AppError> {
    change(site, who, name, Change::Role(role)).await
}

/// A new password; the user's sessions end.
///
/// # Errors
/// 403; 404; 422 for a password that cannot be.
pub async fn set_password(
    site: &Site,
    doors: &Doors,
    who: &Principal,
    name: String,
    password: String,
) -> Result<User, AppError> {
    site.permit(who, Permission::ManageUsers, Resource::Any).await?;
    let hash = hash(doors, password).await?;
    let wanted = name.clone();
    let set = site.change(who, move |connection| {
        let user = users::set_password(connection, &wanted, &hash)?;
        let told = user.as_ref().map(|user| ("user.password_set", json!({"user": user.name})));
        Ok((user, told))
    });
    set.await?.ok_or_else(|| unknown(&name))
}

/// Shuts a user out, at once.
///
/// # Errors
/// As [`set_role`].
pub async fn disable(site: &Site, who: &Principal, name: String) -> Result<User, AppError> {
    change(site, who, name, Change::Disable).await
}

/// Lets a user in again.
///
/// # Errors
/// As [`set_role`].
pub async fn enable(site: &Site, who: &Principal, name: String) -> Result<User, AppError> {
    change(site, who, name, Change::Enable).await
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Role(Role),
    Groups(Vec<String>),
    Disable,
    Enable,
}

impl Change {
    fn takes_admin_away(&self) -> bool {
        match self {
            Change::Role(role) => *role != Role::Admin,
            Change::Disable => true,
            Change::Enable | Change::Groups(_) => false,
        }
    }

    fn told(&self, before: &User) -> Told {
        let name = &before.name;
        match self {
            Change::Role(role) => {
                let detail = json!({"user": name, "from": before.role, "role": role.as_str()});
                ("user.role_changed", detail)
            }
            Change::Groups(groups) => {
                let detail = json!({"user": name, "from": before.groups, "groups": groups});
                ("user.groups_changed", detail)
            }
            Change::Disable => ("user.disabled", json!({"user": name})),
            Change::Enable => ("user.enabled", json!({"user": name})),
        }
    }
}

/// The user as they were before the change.
async fn change(site: &Site, who: &Principal, name: String, change: Change) -> Result<User, AppError> {
    site.permit(who, Permission::ManageUsers, Resource::Any).await?;
    if name == who.user {
        let detail = "You cannot change your own rights. Ask another admin to do it.".to_owned();
        return Err(AppError::Forbidden { detail, missing: None });
    }
    let wanted = name.clone();
    let outcome = site.change(who, move |connection| {
        let outcome = apply(connection, &wanted, &change)?;
        let told = match &outcome {
            Outcome::Changed(before) => Some(change.told(before)),
            Outcome::Unknown | Outcome::LastAdmin => None,
        };
        Ok((outcome, told))
    });
    match outcome.await? {
        Outcome::Changed(before) => Ok(before),
        Outcome::Unknown => Err(unknown(&name)),
        Outcome::LastAdmin => Err(AppError::conflict(format!(
            "{name} is the last admin who can sign in. Make somebody else an admin first."
        ))),
    }
}

enum Outcome {
    Changed(User),
    Unknown,
    LastAdmin,
}

fn apply(connection: &mut Connection, name: &str, change: &Change) -> Result<Outcome, StoreError> {
    let admins = users::lock_admins(connection)?;
    let Some(before) = users::get(connection, name)? else { return Ok(Outcome::Unknown) };
    if change.takes_admin_away() && admins.iter().any(|admin| admin == name) && admins.len() == 1 {
        return Ok(Outcome::LastAdmin);
    }
    match change {
        Change::Role(role) => users::set_role(connection, name, role.as_str())?,
        Change::Groups(groups) => users::set_groups(connection, name, groups)?,
        Change::Disable => users::disable(connection, name)?,
        Change::Enable => users::enable(connection, name)?,
    };
    Ok(Outcome::Changed(before))
}

async fn hash(doors: &Doors, password: String) -> Result<String, AppError> {
    password::check_new(&password).map_err(refused)?;
    let permit = doors.hashing.acquire().await.map_err(AppError::internal)?;
    let hashed = actix_web::web::block(move || password::hash(&password)).await;
    drop(permit);
    hashed.map_err(AppError::internal)?.map_err(refused)
}

fn refused(error: PasswordError) -> AppError {
    match error {
        PasswordError::TooShort | PasswordError::TooLong => AppError::field("$.password", error.to_string()),
        PasswordError::Hashing(_) => AppError::internal(error),
    }
}

fn unknown(name: &str) -> AppError {
    AppError::NotFound(format!("There is no user {name}."))
}

#[cfg(test)]
mod tests {
    use super::Change;
    use crate::auth::policy::Role;
    use crate::engine::protocol::is_user_name;

    #[test]
    fn names_are_what_the_table_takes() {
        for name in ["ada", "7of9", "a.b_c@d-e", &"x".repeat(64)] {
            assert!(is_user_name(name), "{name}");
        }
        for name in ["", "Ada", "-a", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_user_name(name), "{name}");
        }
    }

    #[test]
    fn only_some_changes_take_an_admin_away() {
        assert!(Change::Disable.takes_admin_away() && Change::Role(Role::Staff).takes_admin_away());
        assert!(!Change::Enable.takes_admin_away() && !Change::Role(Role::Admin).takes_admin_away());
    }
}
