//! LISTEN and NOTIFY between the instances on one database. Without a payload: whoever hears looks for itself.

use super::Connection;
use super::error::StoreError;
use diesel::connection::SimpleConnection;
use diesel::sql_types::Integer;
use diesel::{QueryableByName, RunQueryDsl};

/// Tells the other instances that something was committed.
pub fn notify(connection: &mut Connection) -> Result<(), StoreError> {
    diesel::sql_query("NOTIFY hms_act").execute(connection)?;
    Ok(())
}

/// A connection that hears what others tell, and tells them. It does not hear itself.
pub struct Ear {
    connection: Connection,
    /// The server's process behind it.
    pid: i32,
}

impl Ear {
    /// From now on notices wait in this connection until [`Ear::heard`] takes them.
    pub fn listen(mut connection: Connection) -> Result<Ear, StoreError> {
        #[derive(QueryableByName)]
        struct Process {
            #[diesel(sql_type = Integer)]
            pid: i32,
        }
        // A notice is a transaction of its own. One that is lost in a crash is no loss, so none waits for the disk.
        connection.batch_execute("SET synchronous_commit = off; LISTEN hms_act")?;
        let pid =
            diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result::<Process>(&mut connection)?.pid;
        Ok(Ear { connection, pid })
    }

    /// Takes what has come since the last look, without waiting: whether others told anything.
    pub fn heard(&mut self) -> Result<bool, StoreError> {
        let mut any = false;
        for notification in self.connection.notifications_iter() {
            any |= notification?.process_id != self.pid;
        }
        Ok(any)
    }

    /// Tells the others that something was committed.
    pub fn tell(&mut self) -> Result<(), StoreError> {
        notify(&mut self.connection)
    }

    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
