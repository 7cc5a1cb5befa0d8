//! What can go wrong between the app and its database.

use super::conninfo::{Conninfo, InvalidConninfo};
use diesel::result::{ConnectionError, DatabaseErrorKind, Error};

/// An error of the store. Messages are one line, and never hold a password or a payload.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed. Use for everything that the caller cannot act on.
    #[error("the database refused a statement: {0}")]
    Database(Error),
    /// A statement ran into the limit of its connection, and was given up.
    #[error("This took longer than the database may work on one question. Narrow the filter, and try again.")]
    TooSlow,
    /// No connection: wrong address, wrong password, server down, or the pool is exhausted; or it broke meanwhile, and
    /// nobody knows what became of a change that was under way.
    #[error("{0}")]
    Connection(String),
    /// A login may not do what it is there for. Says which right it needs.
    #[error("{0}")]
    Privilege(String),
    /// What is stored contradicts itself (an unknown status, a leaf that does not parse). Never repaired silently.
    #[error("the stored data is damaged: {0}")]
    Corrupt(String),
    /// A newer version of this program wrote it: a run, or a protocol. It is left to the instances of that version.
    #[error(
        "{0} was written by a newer version of this program, and is left to it. Ask again: an instance of that version \
         answers."
    )]
    Newer(String),
    /// Somebody else changed or made the same thing first: read again, then decide again.
    #[error("{0}")]
    Conflict(String),
    /// The author saw an older version than the latest, which would be lost.
    #[error("Somebody saved version {latest} in the meantime. Look at it, then save again.")]
    Overtaken { latest: i32 },
    /// The run ended long ago, and its entries are in a backup instead of the log. `on` as people write it:
    /// `3 March 2026`.
    #[error(
        "The record of run {run} was moved to the archive on {on}. Whoever runs this installation has it there, with \
         the proof that it is whole."
    )]
    Archived { run: i64, on: String },
}

impl StoreError {
    /// The connection string in the setting `variable` led nowhere.
    pub(super) fn unreachable(variable: &str, conninfo: &Conninfo, error: &ConnectionError) -> Self {
        let reason = conninfo.redact(&one_line(&error.to_string()));
        StoreError::Connection(format!("{variable}: cannot connect to {conninfo}: {reason}"))
    }

    /// The setting `variable` is no connection string at all.
    pub(super) fn unreadable(variable: &str, error: &InvalidConninfo) -> Self {
        StoreError::Connection(format!("{variable}: {error}"))
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        // Diesel keeps no SQLSTATE (57014); the setting's name stands in the message.
        match &error {
            Error::DatabaseError(_, told) if told.message().contains("statement timeout") => {
                StoreError::TooSlow
            }
            error if is_broken(error) => {
                let reason = one_line(&error.to_string());
                StoreError::Connection(format!("the connection to the database broke: {reason}"))
            }
            _ => StoreError::Database(error),
        }
    }
}

/// Whether it is the connection's end, not the statement's fault.
fn is_broken(error: &Error) -> bool {
    match error {
        Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        ) => true,
        // libpq does not always call a connection closed on which a write failed. Its own words end a line, which the
        // server's never do, and it speaks up only when it has lost the server.
        Error::DatabaseError(_, told) => told.message().ends_with('\n'),
        Error::RollbackErrorOnCommit { rollback_error, commit_error } => {
            is_broken(rollback_error) || is_broken(commit_error)
        }
        Error::BrokenTransactionManager => true,
        _ => false,
    }
}

impl From<diesel::r2d2::PoolError> for StoreError {
    fn from(error: diesel::r2d2::PoolError) -> Self {
        StoreError::Connection(format!("no database connection is free: {}", one_line(&error.to_string())))
    }
}

/// libpq reports over several lines; a log line and a terminal want one.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: DatabaseErrorKind, message: &str) -> Error {
        Error::DatabaseError(kind, Box::new(message.to_owned()))
    }

    #[test]
    fn what_libpq_says_of_a_lost_server_is_no_fault_of_the_statement() {
        let lost =
            "server closed the connection unexpectedly\n\tThis probably means the server terminated.\n";
        let refused = "duplicate key value violates unique constraint";
        let broken = [
            told(DatabaseErrorKind::Unknown, lost),
            told(DatabaseErrorKind::ClosedConnection, "terminating connection due to administrator command"),
            Error::BrokenTransactionManager,
        ];
        for error in broken {
            let error = StoreError::from(error);
            assert!(matches!(&error, StoreError::Connection(text) if !text.contains('\n')), "{error}");
        }
        for error in [told(DatabaseErrorKind::UniqueViolation, refused), Error::NotFound] {
            assert!(matches!(StoreError::from(error), StoreError::Database(_)));
        }
    }
}
