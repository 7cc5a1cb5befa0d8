//! Where the log is backed up, and how a bucket is reached.

use super::{ConfigError, Secret, Sources, wrong};
use url::Url;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backup {
    /// A directory, or `s3://bucket/prefix`. None: nothing is backed up by itself.
    pub to: Option<String>,
    /// The same for what an erasure must reach. None: below the directory.
    pub aside: Option<String>,
    /// Another service than Amazon's.
    pub s3_endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
}

impl Sources<'_> {
    /// What the command line said of the two places, and the rest.
    pub(super) fn backup(&self, to: Option<String>, aside: Option<String>) -> Result<Backup, ConfigError> {
        let file = &self.file;
        for (variable, place) in [("HMS_ACT_BACKUP", &to), ("HMS_ACT_BACKUP_ASIDE", &aside)] {
            place.as_deref().map_or(Ok(()), |place| check_place(variable, place))?;
        }
        let endpoint = self.plain("HMS_ACT_BACKUP_S3_ENDPOINT", &file.backup_s3_endpoint);
        endpoint.as_deref().map_or(Ok(()), check_endpoint)?;
        Ok(Backup {
            to,
            aside,
            s3_endpoint: endpoint,
            region: self.plain("AWS_REGION", &file.aws_region),
            access_key_id: self.plain("AWS_ACCESS_KEY_ID", &file.aws_access_key_id),
            secret_access_key: self.secret(
                "AWS_SECRET_ACCESS_KEY",
                &file.aws_secret_access_key,
                &file.aws_secret_access_key_file,
            )?,
            session_token: self.secret(
                "AWS_SESSION_TOKEN",
                &file.aws_session_token,
                &file.aws_session_token_file,
            )?,
        })
    }
}

fn check_place(variable: &str, place: &str) -> Result<(), ConfigError> {
    let fits = match place.strip_prefix("s3://") {
        Some(bucket) => !bucket.is_empty() && !bucket.starts_with('/') && !bucket.contains(['?', '#', '@']),
        None => !place.contains("://"),
    };
    if fits {
        return Ok(());
    }
    Err(wrong(variable, format!("{place:?} is neither a directory nor a bucket such as s3://bucket/prefix")))
}

fn check_endpoint(text: &str) -> Result<(), ConfigError> {
    let fits = |url: Url| {
        matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.username().is_empty()
    };
    if Url::parse(text).is_ok_and(fits) {
        return Ok(());
    }
    Err(wrong("HMS_ACT_BACKUP_S3_ENDPOINT", format!("{text:?} is not an http or https address")))
}
