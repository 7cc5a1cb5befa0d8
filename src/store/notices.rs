//! LISTEN and NOTIFY between the instances on one database. Without a payload: whoever hears looks for itself.

use super::Connection;
use super::error::StoreError;
use diesel::RunQueryDsl;

/// Tells the other instances that something was committed.
pub fn notify(connection: &mut Connection) -> Result<(), StoreError> {
    diesel::sql_query("NOTIFY hms_act").execute(connection)?;
    Ok(())
}

/// From now on notices wait in this connection until [`heard`] takes them.
pub fn listen(connection: &mut Connection) -> Result<(), StoreError> {
    diesel::sql_query("LISTEN hms_act").execute(connection)?;
    Ok(())
}

/// Takes what has come since the last look, without waiting: whether there was anything.
pub fn heard(connection: &mut Connection) -> Result<bool, StoreError> {
    let mut any = false;
    for notification in connection.notifications_iter() {
        notification?;
        any = true;
    }
    Ok(any)
}
