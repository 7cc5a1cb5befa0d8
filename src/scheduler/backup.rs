//! The backup that goes on while the app serves: a round soon after each new head of the log.
//!
//! A task of its own; what is read is read off the event loop. A failure is tried again, ever less often, and told as
//! an error once the backup has been behind for a minute. Of several instances the one that signs the log makes it.

use super::{figures, stopped};
use crate::export::backup::writing::{Backup, BackupError, Round};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it looks whether there is something new.
const EVERY: Duration = Duration::from_secs(5);
/// After a failure, doubled after each further one.
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// From then on being behind is an error, told again after as long.
const ALARM: Duration = Duration::from_secs(60);
/// At the end of the app the last entries get so much time.
const LAST: Duration = Duration::from_secs(2);

/// Runs until `stop`, and gives the backup back for the last entries.
pub async fn run(mut backup: Backup, mut stop: watch::Receiver<bool>) -> Backup {
    let mut watch = Watch { complete: Instant::now(), failures: 0, told: None };
    loop {
        // A round that is broken off leaves nothing half done.
        let mut silent = |_, _| {};
        let round = tokio::select! {
            round = backup.round(false, &mut silent) => round,
            () = show_time(watch.complete) => break,
            () = stopped(&mut stop) => break,
        };
        let pause = watch.heed(round);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => break,
        }
    }
    backup
}

/// Once more, for the last entries. The database is still there.
pub async fn finish(mut backup: Backup) {
    match tokio::time::timeout(LAST, backup.round(false, &mut |_, _| {})).await {
        Ok(Ok(_) | Err(BackupError::NotTheSigner)) => {}
        Ok(Err(error)) => tracing::warn!(error = %error, "the last entries are not backed up yet"),
        Err(_) => tracing::warn!("the last entries are not backed up yet: the next start does it"),
    }
}

/// A round that takes long is behind all that time. Never ends.
async fn show_time(complete: Instant) {
    loop {
        tokio::time::sleep(EVERY).await;
        figures::backup_behind(complete.elapsed());
    }
}

struct Watch {
    /// When nothing was lacking, or nothing that is known.
    complete: Instant,
    failures: u32,
    told: Option<Instant>,
}

impl Watch {
    /// Tells what came of a round, and how long to wait for the next.
    fn heed(&mut self, round: Result<Round, BackupError>) -> Duration {
        let error = match round {
            Ok(Round { size, .. }) => {
                if self.told.is_some() {
                    tracing::info!("the backup has caught up");
                }
                *self = Watch { complete: Instant::now(), failures: 0, told: None };
                if let Some(size) = size {
                    figures::backed_up(size);
                }
                figures::backup_behind(Duration::ZERO);
                return EVERY;
            }
            Err(BackupError::NotTheSigner) => {
                *self = Watch { complete: Instant::now(), failures: 0, told: None };
                figures::backup_behind(Duration::ZERO);
                return EVERY;
            }
            Err(error) => error,
        };
        let behind = self.complete.elapsed();
        figures::backup_behind(behind);
        if behind >= ALARM && self.told.is_none_or(|at| at.elapsed() >= ALARM) {
            self.told = Some(Instant::now());
            tracing::error!(error = %error, behind_seconds = behind.as_secs(), "the backup is behind");
        } else if self.failures == 0 {
            tracing::warn!(error = %error, "the backup failed; it is tried again");
        }
        self.failures += 1;
        RETRY.saturating_mul(1 << (self.failures - 1).min(4)).min(LONGEST_RETRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<Round, BackupError> {
        Err(BackupError::Key("no key".to_owned()))
    }

    #[test]
    fn failures_are_tried_again_ever_less_often_until_one_is_over() {
        let mut watch = Watch { complete: Instant::now(), failures: 0, told: None };
        let pauses: Vec<u64> = (0..7).map(|_| watch.heed(failed()).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(watch.heed(Ok(Round::default())), EVERY);
        assert_eq!(watch.heed(failed()), RETRY);
    }

    #[test]
    fn a_backup_that_is_behind_for_a_minute_is_told_once_a_minute() {
        let long_ago = Instant::now().checked_sub(ALARM).expect("the machine runs for longer");
        let mut watch = Watch { complete: long_ago, failures: 3, told: None };
        watch.heed(failed());
        let told = watch.told.expect("it was told");
        watch.heed(failed());
        assert_eq!(watch.told, Some(told));
        watch.heed(Ok(Round::default()));
        assert_eq!(watch.told, None);
    }
}
