//! The guard against server-side request forgery: where a call may go.
//!
//! Owns the HTTP clients, and hands one out only for an address that it checked. A client never follows a
//! redirect, never uses a proxy and never unpacks a compressed answer. The check holds at connect time: names are
//! resolved by [`PublicOnly`], so an answer that changes between the check and the call (DNS rebinding) gains
//! nothing. Private addresses are reached only as an exact `host:port` that an admin allowed.

use super::address::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, redirect, retry};
use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One entry of `HMS_ACT_ALLOW_HOSTS`, spelled as a parsed URL spells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Reads `host:port,host:port`. Empty text is an empty list. The error names the entry and says what to write.
    pub fn parse_list(text: &str) -> Result<Vec<HostPort>, String> {
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::parse).collect()
    }

    fn of(host: &Host<String>, port: u16) -> HostPort {
        let host = match host {
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => format!("[{address}]"),
        };
        HostPort { host, port }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(entry: &str) -> Result<HostPort, String> {
        let wrong = |why: &str| {
            format!("`{entry}` {why}; write host:port, for example 10.0.0.5:8443 or [fd00::5]:443")
        };
        let (host, port) = entry.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| wrong("has no port between 1 and 65535 after the last colon"))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(wrong("is an IPv6 address without brackets"));
        }
        let host = Host::parse(host).map_err(|cause| wrong(&format!("is not a host name ({cause})")))?;
        Ok(HostPort::of(&host, port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why an address may not be called. The message is for the admin who configured it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    pub message: String,
}

/// Cheap to clone: the clients and their connection pools are shared.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    allowed: HashSet<HostPort>,
    /// Reaches public addresses only.
    public: Client,
    /// Reaches any address; handed out only for an allowed `host:port`.
    listed: Client,
}

impl Guard {
    pub fn new(allow_hosts: Vec<HostPort>) -> Guard {
        let public = build(|| restricted_client().dns_resolver(PublicOnly));
        let listed = build(restricted_client);
        Guard { shared: Arc::new(Shared { allowed: allow_hosts.into_iter().collect(), public, listed }) }
    }

    /// What can be said about a URL without resolving its name. A name that leads to a private address is refused
    /// later, when the client connects.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        self.client_for(url).map(|_| ())
    }

    /// The client for this URL, and for no other.
    pub fn client_for(&self, url: &Url) -> Result<&Client, Refused> {
        let refused = |message: String| Err(Refused { message });
        if !matches!(url.scheme(), "http" | "https") {
            return refused(format!("The address begins with `{}:`. Use http or https.", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused(
                "The address holds a user name or a password. Send credentials in a header.".to_owned(),
            );
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return refused("The address has no host.".to_owned());
        };
        let host = host.to_owned();
        let target = HostPort::of(&host, port);
        if self.shared.allowed.contains(&target) {
            return Ok(&self.shared.listed);
        }
        let literal = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        };
        match literal {
            Some(address) if !is_public(address) => refused(not_public(&target.to_string())),
            Some(_) | None => Ok(&self.shared.public),
        }
    }
}

fn not_public(target: &str) -> String {
    format!(
        "{target} is not a public address. If this service is meant, an administrator adds its host:port to \
         HMS_ACT_ALLOW_HOSTS."
    )
}

/// Resolves names to public addresses only. Literals never come here: [`Guard::client_for`] checks those.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> =
                found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(Refused { message: not_public(name.as_str()) }.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// What every outgoing client has in common. One call is one attempt: retries are the engine's, and logged.
pub(super) fn restricted_client() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("hms-act/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .no_gzip()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
}

/// A machine without any CA certificate cannot build the usual client. It gets one that trusts no certificate:
/// http still works there, and https fails with a certificate error.
pub(super) fn build(builder: impl Fn() -> ClientBuilder) -> Client {
    builder().build().unwrap_or_else(|cause| {
        tracing::warn!(%cause, "no CA certificates found: calls to https addresses will fail");
        builder().tls_certs_only([]).build().expect("a client without certificates always builds")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn odd_spellings_of_private_addresses_are_refused() {
        let guard = Guard::new(Vec::new());
        for text in [
            "http://127.0.0.1/",
            "http://127.0.0.1./",
            "http://127.1/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001:8080/",
            "http://%31%32%37.0.0.1/",
            "http://127。0。0。1/",
            "http://１２７.0.0.1/",
            "http://0/",
            "http://10.1.2.3:8443/",
            "http://169.254.169.254/latest/meta-data/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[::]/",
        ] {
            let refused = guard.check(&url(text)).expect_err(text);
            assert!(refused.message.contains("HMS_ACT_ALLOW_HOSTS"), "{text}: {refused}");
        }
        for text in ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://256.1.1.1/", "http:///"] {
            assert!(Url::parse(text).is_err(), "{text} is not even a URL");
        }
    }

    #[test]
    fn other_schemes_and_credentials_are_refused() {
        let guard = Guard::new(Vec::new());
        for text in ["ftp://example.gov/", "file:///etc/passwd", "data:text/plain,x", "gopher://example.gov/"]
        {
            assert!(guard.check(&url(text)).unwrap_err().message.contains("http or https"), "{text}");
        }
        for text in
            ["https://user@example.gov/", "https://user:secret@example.gov/", "https://:p@example.gov/"]
        {
            let refused = guard.check(&url(text)).expect_err(text);
            assert!(refused.message.contains("password") && !refused.message.contains("secret"), "{text}");
        }
        for text in ["https://example.gov/a?b=c", "http://8.8.8.8:8080/", "https://[2606:4700::1111]/"] {
            assert_eq!(guard.check(&url(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_allowed_host_is_allowed_on_its_port_only() {
        let list = "127.0.0.1:8090, [::1]:443,Intranet.Agency.gov.:80";
        let guard = Guard::new(HostPort::parse_list(list).unwrap());
        for text in [
            "http://127.0.0.1:8090/x",
            "http://0x7f.1:8090/",
            "https://[::1]/",
            "https://[0:0:0:0:0:0:0:1]:443/",
            "http://intranet.agency.gov/",
            "http://INTRANET.agency.gov./",
        ] {
            let client = guard.client_for(&url(text)).expect(text);
            assert!(std::ptr::eq(client, &guard.shared.listed), "{text} is listed");
        }
        for text in ["http://127.0.0.1:8091/", "http://127.0.0.2:8090/", "http://[::1]/"] {
            guard.check(&url(text)).expect_err(text);
        }
        let other_port = guard.client_for(&url("http://intranet.agency.gov:81/")).unwrap();
        assert!(std::ptr::eq(other_port, &guard.shared.public), "a name on another port may be public only");
    }

    #[test]
    fn a_wrong_entry_of_the_allow_list_is_named() {
        for (text, why) in [
            ("example.gov", "no port"),
            ("10.0.0.1:80,example.gov:http", "between 1 and 65535"),
            ("example.gov:0", "between 1 and 65535"),
            ("example.gov:70000", "between 1 and 65535"),
            ("::1:8080", "without brackets"),
            (":80", "not a host name"),
            ("http://example.gov:80", "without brackets"),
            ("exa mple.gov:80", "not a host name"),
        ] {
            let message = HostPort::parse_list(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
        }
        assert_eq!(HostPort::parse_list("").unwrap(), []);
        assert_eq!(HostPort::parse_list(" [::1]:8080 , ").unwrap()[0].to_string(), "[::1]:8080");
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_when_it_is_resolved() {
        let cause =
            PublicOnly.resolve("localhost".parse().unwrap()).await.err().expect("localhost is not public");
        assert!(cause.downcast_ref::<Refused>().expect("a refusal").message.contains("localhost"));
    }
}
