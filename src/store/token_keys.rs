//! The public halves of the token keys of every instance: each accepts the tokens of the others.

use super::Connection;
use super::schema::token_keys;
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;

/// Makes an instance's public key known: true if it was not. A key that is known stays as it is, retired or not.
pub fn publish(conn: &mut Connection, kid: &str, public_key: &[u8; 32]) -> QueryResult<bool> {
    diesel::insert_into(token_keys::table)
        .values((token_keys::kid.eq(kid), token_keys::public_key.eq(public_key.as_slice())))
        .on_conflict_do_nothing()
        .execute(conn)
        .map(|added| added > 0)
}

/// The keys whose tokens are accepted: (kid, public key).
pub fn active(conn: &mut Connection) -> QueryResult<Vec<(String, [u8; 32])>> {
    let rows: Vec<(String, Vec<u8>)> = token_keys::table
        .filter(token_keys::retired_at.is_null())
        .order(token_keys::kid)
        .select((token_keys::kid, token_keys::public_key))
        .load(conn)?;
    let keys = rows.into_iter().map(|(kid, key)| {
        let key = key.try_into().expect("the table's CHECK holds public_key to 32 bytes");
        (kid, key)
    });
    Ok(keys.collect())
}

/// Refuses all tokens of a key from now on. False: there is no such key, or it was retired before.
pub fn retire(conn: &mut Connection, kid: &str) -> QueryResult<bool> {
    let row = token_keys::table.find(kid).filter(token_keys::retired_at.is_null());
    let now = diesel::dsl::now.into_sql::<Timestamptz>().nullable();
    let changed = diesel::update(row).set(token_keys::retired_at.eq(now)).execute(conn)?;
    Ok(changed == 1)
}
