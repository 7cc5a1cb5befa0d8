//! Where a backup lies: a directory, or a bucket that speaks the S3 protocol.
//!
//! Owns how it is reached. What is put under a name with [`Target::put_new`] is never replaced.

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use reqwest::header::{HeaderMap, HeaderValue};
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// Tries of one request; whoever asked tries again later.
const TRIES: usize = 3;
const TRIES_FOR: Duration = Duration::from_secs(10);

/// How buckets are reached. What is not given here is looked for where programs for S3 look: `AWS_*` variables, then
/// the machine's own identity.
#[derive(Debug, Clone, Default)]
pub struct S3Access {
    /// Another service than Amazon's.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Hidden>,
    pub session_token: Option<Hidden>,
    /// Hosts with their ports that may be spoken to without TLS, besides this machine itself.
    pub plain_hosts: Vec<String>,
}

/// A secret on its way to the bucket.
#[derive(Clone)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}

/// Says which place, and what was wrong. One line, no secrets.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct TargetError {
    place: String,
    message: String,
}

#[derive(Debug, Clone)]
pub struct Target {
    store: Arc<dyn ObjectStore>,
    /// As it was given.
    name: String,
    /// Before every name, with its slash.
    prefix: String,
}

impl Target {
    /// A place to write to; a directory is made if it is missing, for its owner alone.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn open(place: &str, access: &S3Access) -> Result<Target, TargetError> {
        if !place.starts_with("s3://") && !std::path::Path::new(place).exists() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(place);
            made.map_err(|error| wrong(place, &error))?;
        }
        Target::existing(place, access)
    }

    /// A place to read from.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn existing(place: &str, access: &S3Access) -> Result<Target, TargetError> {
        let (store, prefix): (Arc<dyn ObjectStore>, String) = match place.strip_prefix("s3://") {
            Some(bucket) => {
                let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
                let prefix = prefix.trim_matches('/');
                let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
                (Arc::new(s3(place, bucket, access)?), prefix)
            }
            None if place.contains("://") => {
                return Err(wrong(place, &"name a directory, or a bucket as s3://bucket/prefix"));
            }
            None => {
                let store = LocalFileSystem::new_with_prefix(place).map_err(|error| wrong(place, &error))?;
                (Arc::new(store.with_fsync(true)), String::new())
            }
        };
        Ok(Target { store, name: place.to_owned(), prefix })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether others on this machine can read a directory.
    pub fn is_open_to_others(&self) -> bool {
        let mode = std::fs::metadata(&self.name).map(|metadata| metadata.permissions().mode());
        !self.name.starts_with("s3://") && mode.is_ok_and(|mode| mode & 0o077 != 0)
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    fn wrong(&self, name: &str, error: &Error) -> TargetError {
        wrong(&format!("{}/{name}", self.name.trim_end_matches('/')), error)
    }

    /// Puts an object where none is. False: one is there, and stays.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub async fn put_new(&self, name: &str, content: Vec<u8>) -> Result<bool, TargetError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&self.path(name), content.into(), options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.wrong(name, &error)),
        }
    }

    /// Puts an object, whatever is there. (A bucket under Object Lock keeps both.)
    ///
    /// # Errors
    /// See [`TargetError`].
    pub async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), TargetError> {
        let put = self.store.put(&self.path(name), content.into()).await;
        put.map(|_| ()).map_err(|error| self.wrong(name, &error))
    }

    /// None: there is no such object.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, TargetError> {
        let got = async { self.store.get(&self.path(name)).await?.bytes().await };
        match got.await {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.wrong(name, &error)),
        }
    }

    /// The names of all objects below another name.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub async fn list(&self, below: &str) -> Result<HashSet<String>, TargetError> {
        let listed = self.store.list(Some(&self.path(below)));
        let named = listed.map_ok(|object| {
            let name = object.location.to_string();
            name.strip_prefix(&self.prefix).map_or(name.clone(), str::to_owned)
        });
        named.try_collect().await.map_err(|error| self.wrong(below, &error))
    }
}

fn s3(place: &str, bucket: &str, access: &S3Access) -> Result<impl ObjectStore + use<>, TargetError> {
    let retry = RetryConfig { max_retries: TRIES, retry_timeout: TRIES_FOR, ..RetryConfig::default() };
    let plain = match &access.endpoint {
        Some(endpoint) => check_endpoint(endpoint, &access.plain_hosts)?,
        None => false,
    };
    // A bucket under Object Lock takes nothing without a checksum, and without a word on which one it is.
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("SHA256"));
    let options = ClientOptions::new().with_allow_http(plain).with_default_headers(headers);
    let mut builder = AmazonS3Builder::from_env()
        .with_client_options(options)
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_checksum_algorithm(Checksum::SHA256);
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(region) = &access.region {
        builder = builder.with_region(region);
    }
    if let Some(id) = &access.access_key_id {
        builder = builder.with_access_key_id(id);
    }
    if let Some(Hidden(secret)) = &access.secret_access_key {
        builder = builder.with_secret_access_key(secret);
    }
    if let Some(Hidden(token)) = &access.session_token {
        builder = builder.with_token(token);
    }
    builder.build().map_err(|error| wrong(place, &error))
}

/// Whether it is spoken to without TLS: to this machine itself, and where that was allowed.
fn check_endpoint(endpoint: &str, plain_hosts: &[String]) -> Result<bool, TargetError> {
    let url = Url::parse(endpoint).map_err(|error| wrong(endpoint, &error))?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let host = format!("{}:{}", url.host_str().unwrap_or(""), url.port_or_known_default().unwrap_or(0));
    match url.scheme() {
        "https" => Ok(false),
        "http" if loopback || plain_hosts.contains(&host) => Ok(true),
        "http" => Err(wrong(
            endpoint,
            &format!(
                "what is sent there could be read on the way: use https, or add {host} to HMS_ACT_ALLOW_HOSTS"
            ),
        )),
        _ => Err(wrong(endpoint, &"this is no http or https address")),
    }
}

fn wrong(place: &str, error: &dyn std::fmt::Display) -> TargetError {
    let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    TargetError { place: place.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_this_machine_is_spoken_to_unless_it_was_allowed() {
        let allowed = ["store.internal:9000".to_owned()];
        for (endpoint, expected) in [
            ("https://s3.example.gov", Some(false)),
            ("http://127.0.0.1:5000", Some(true)),
            ("http://[::1]:5000", Some(true)),
            ("http://localhost:5000", Some(true)),
            ("http://store.internal:9000", Some(true)),
            ("http://store.internal:9001", None),
            ("http://s3.example.gov", None),
            ("ftp://127.0.0.1", None),
            ("bucket", None),
        ] {
            assert_eq!(check_endpoint(endpoint, &allowed).ok(), expected, "{endpoint}");
        }
    }
}
