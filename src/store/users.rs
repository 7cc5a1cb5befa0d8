//! Users: who may sign in or hold tokens, and as what.
//!
//! Every change that takes something away (role, groups, password, disabling) ends the user's sessions in the same
//! transaction and moves `updated_at`, to which sessions are bound. Users are never deleted: the log names them.

use super::Connection;
use super::schema::users;
use super::sessions;
use chrono::{DateTime, Utc};
use diesel::Connection as _;
use diesel::prelude::*;

diesel::define_sql_function! {
    /// The moment, not the start of the transaction: two changes in one transaction differ.
    fn clock_timestamp() -> Timestamptz;
}

/// One row. `role` is one of the names that the table's CHECK allows.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
pub struct User {
    pub name: String,
    pub role: String,
    /// PHC string. None: may hold tokens, cannot sign in.
    pub password_hash: Option<String>,
    pub disabled_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// What the user belongs to: approvals may ask for a group.
    pub groups: Vec<String>,
}

/// The user of that name, disabled or not.
pub fn get(conn: &mut Connection, name: &str) -> QueryResult<Option<User>> {
    users::table.find(name).select(User::as_select()).first(conn).optional()
}

/// All users by name, disabled ones too.
pub fn list(conn: &mut Connection) -> QueryResult<Vec<User>> {
    users::table.order(users::name).select(User::as_select()).load(conn)
}

/// Whether anybody can administer: an enabled admin with a password.
pub fn has_admin(conn: &mut Connection) -> QueryResult<bool> {
    let admins = users::table
        .filter(users::role.eq("admin"))
        .filter(users::disabled_at.is_null())
        .filter(users::password_hash.is_not_null());
    diesel::select(diesel::dsl::exists(admins)).get_result(conn)
}

/// The names of the admins who can sign in, locked until the transaction ends: two changes at once cannot each
/// take away the other's last admin.
pub fn lock_admins(conn: &mut Connection) -> QueryResult<Vec<String>> {
    users::table
        .filter(users::role.eq("admin"))
        .filter(users::disabled_at.is_null())
        .filter(users::password_hash.is_not_null())
        .order(users::name)
        .select(users::name)
        .for_update()
        .load(conn)
}

/// A new user. None: the name is taken, and nothing changed.
///
/// # Errors
/// A name or role that the table refuses is a CHECK violation.
pub fn create(
    conn: &mut Connection,
    name: &str,
    role: &str,
    groups: &[String],
    password_hash: Option<&str>,
) -> QueryResult<Option<User>> {
    diesel::insert_into(users::table)
        .values((
            users::name.eq(name),
            users::role.eq(role),
            users::groups.eq(groups),
            users::password_hash.eq(password_hash),
        ))
        .on_conflict_do_nothing()
        .returning(User::as_returning())
        .get_result(conn)
        .optional()
}

/// Changes the role and ends the user's sessions. None: no such user.
pub fn set_role(conn: &mut Connection, name: &str, role: &str) -> QueryResult<Option<User>> {
    change(conn, name, |conn| {
        diesel::update(users::table.find(name))
            .set((users::role.eq(role), users::updated_at.eq(clock_timestamp())))
            .returning(User::as_returning())
            .get_result(conn)
    })
}

/// Changes what the user belongs to and ends the user's sessions. None: no such user.
pub fn set_groups(conn: &mut Connection, name: &str, groups: &[String]) -> QueryResult<Option<User>> {
    change(conn, name, |conn| {
        diesel::update(users::table.find(name))
            .set((users::groups.eq(groups), users::updated_at.eq(clock_timestamp())))
            .returning(User::as_returning())
            .get_result(conn)
    })
}

/// The enabled users who belong to a group, by name.
pub fn in_group(conn: &mut Connection, group: &str) -> QueryResult<Vec<User>> {
    users::table
        .filter(users::groups.contains(vec![group]))
        .filter(users::disabled_at.is_null())
        .order(users::name)
        .select(User::as_select())
        .load(conn)
}

/// Replaces the password's hash and ends the user's sessions. None: no such user.
pub fn set_password(conn: &mut Connection, name: &str, password_hash: &str) -> QueryResult<Option<User>> {
    change(conn, name, |conn| {
        diesel::update(users::table.find(name))
            .set((users::password_hash.eq(password_hash), users::updated_at.eq(clock_timestamp())))
            .returning(User::as_returning())
            .get_result(conn)
    })
}

/// Shuts the user out: sessions end, tokens are refused from the next request on. None: no such user.
pub fn disable(conn: &mut Connection, name: &str) -> QueryResult<Option<User>> {
    change(conn, name, |conn| {
        diesel::update(users::table.find(name))
            .set((
                users::disabled_at.eq(clock_timestamp().nullable()),
                users::updated_at.eq(clock_timestamp()),
            ))
            .returning(User::as_returning())
            .get_result(conn)
    })
}

/// Lets a disabled user in again. None: no such user.
pub fn enable(conn: &mut Connection, name: &str) -> QueryResult<Option<User>> {
    change(conn, name, |conn| {
        diesel::update(users::table.find(name))
            .set((users::disabled_at.eq(None::<DateTime<Utc>>), users::updated_at.eq(clock_timestamp())))
            .returning(User::as_returning())
            .get_result(conn)
    })
}

/// The change and the end of the sessions, together.
fn change(
    conn: &mut Connection,
    name: &str,
    update: impl FnOnce(&mut Connection) -> QueryResult<User>,
) -> QueryResult<Option<User>> {
    conn.transaction(|conn| {
        let user = update(conn).optional()?;
        if user.is_some() {
            sessions::delete_of_user(conn, name)?;
        }
        Ok(user)
    })
}
