//! Who may sign in, and as what: changed by admins, every change an entry in the log.
//!
//! Never leaves the agency without an admin, and never lets one change their own rights: whoever must not keep
//! them is changed by another admin.

use super::doors::Doors;
use super::problem::AppError;
use super::site::Site;
use crate::auth::password::{self, PasswordError};
use crate::auth::policy::{Permission, Principal, Resource, Role};
use crate::store;
use crate::store::error::StoreError;
use crate::store::users::{self, User};
use serde_json::json;

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
    password: String,
) -> Result<User, AppError> {
    site.permit(who, Permission::ManageUsers, Resource::Any).await?;
    if !is_user_name(&name) {
        let message = "A name has 1 to 64 small letters, digits, `.`, `_`, `@` and `-`, and begins with a letter or digit.";
        return Err(AppError::field("$.name", message));
    }
    let hash = hash(doors, password).await?;
    let wanted = name.clone();
    let created = site
        .read(move |connection| Ok(users::create(connection, &wanted, role.as_str(), Some(&hash))?))
        .await?
        .ok_or_else(|| {
            AppError::field("$.name", format!("There is already a user {name}. Choose another name."))
        })?;
    site.record(who, "user.created", None, json!({"user": created.name, "role": created.role})).await?;
    Ok(created)
}

/// Another role. It counts from the user's next request on; they sign in again.
///
/// # Errors
/// 403, also for oneself; 404; 409 for the last admin.
pub async fn set_role(site: &Site, who: &Principal, name: String, role: Role) -> Result<User, AppError> {
    let before = change(site, who, name, Change::Role(role)).await?;
    let detail = json!({"user": before.name, "from": before.role, "role": role.as_str()});
    site.record(who, "user.role_changed", None, detail).await?;
    Ok(before)
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
    let user = site.read(move |connection| Ok(users::set_password(connection, &wanted, &hash)?)).await?;
    let user = user.ok_or_else(|| unknown(&name))?;
    site.record(who, "user.password_set", None, json!({"user": user.name})).await?;
    Ok(user)
}

/// Shuts a user out, at once.
///
/// # Errors
/// As [`set_role`].
pub async fn disable(site: &Site, who: &Principal, name: String) -> Result<User, AppError> {
    let before = change(site, who, name, Change::Disable).await?;
    site.record(who, "user.disabled", None, json!({"user": before.name})).await?;
    Ok(before)
}

/// Lets a user in again.
///
/// # Errors
/// As [`set_role`].
pub async fn enable(site: &Site, who: &Principal, name: String) -> Result<User, AppError> {
    let before = change(site, who, name, Change::Enable).await?;
    site.record(who, "user.enabled", None, json!({"user": before.name})).await?;
    Ok(before)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Role(Role),
    Disable,
    Enable,
}

impl Change {
    fn takes_admin_away(self) -> bool {
        match self {
            Change::Role(role) => role != Role::Admin,
            Change::Disable => true,
            Change::Enable => false,
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
    let outcome = site.read(move |connection| {
        store::transaction(connection, |connection| apply(connection, &wanted, change))
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

fn apply(
    connection: &mut crate::store::Connection,
    name: &str,
    change: Change,
) -> Result<Outcome, StoreError> {
    let admins = users::lock_admins(connection)?;
    let Some(before) = users::get(connection, name)? else { return Ok(Outcome::Unknown) };
    if change.takes_admin_away() && admins.iter().any(|admin| admin == name) && admins.len() == 1 {
        return Ok(Outcome::LastAdmin);
    }
    match change {
        Change::Role(role) => users::set_role(connection, name, role.as_str())?,
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

/// The same rule as the users table.
fn is_user_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.len() <= 64
        && name.starts_with(plain)
        && name.chars().all(|letter| plain(letter) || matches!(letter, '.' | '_' | '@' | '-'))
}

#[cfg(test)]
mod tests {
    use super::{Change, is_user_name};
    use crate::auth::policy::Role;

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
