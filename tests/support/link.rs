//! The network between an instance and its database, which can fall silent and come back.

use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use url::Url;

pub struct Link {
    address: SocketAddr,
    user: String,
    database: String,
    flows: watch::Sender<bool>,
}

impl Link {
    /// To the database of a connection string over a socket. Forwards for as long as the test runs.
    pub async fn to(database_url: &str) -> Link {
        let url = Url::parse(database_url).expect("a URL");
        let setting = |name: &str| {
            let found = url.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).expect("it names its socket, port and user")
        };
        let socket = PathBuf::from(setting("host")).join(format!(".s.PGSQL.{}", setting("port")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let flows = watch::Sender::new(true);
        let all = flows.clone();
        tokio::spawn(async move {
            while let Ok((instance, _)) = listener.accept().await {
                let Ok(database) = UnixStream::connect(&socket).await else { continue };
                let (from_instance, to_instance) = instance.into_split();
                let (from_database, to_database) = database.into_split();
                tokio::spawn(forward(from_instance, to_database, all.subscribe()));
                tokio::spawn(forward(from_database, to_instance, all.subscribe()));
            }
        });
        let database = url.path().trim_start_matches('/').to_owned();
        Link { address, user: setting("user"), database, flows }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    /// The same database on this way.
    pub fn url(&self) -> String {
        format!("postgres://{}@{}/{}", self.user, self.address, self.database)
    }

    /// From now on nothing gets through, and neither end is told.
    pub fn cut(&self) {
        self.flows.send_replace(false);
    }

    /// Everything gets through again, what was under way late.
    pub fn heal(&self) {
        self.flows.send_replace(true);
    }
}

/// Either end may go at any time; the other learns of it when something gets through.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flows: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        // An end that goes is learned of like everything else; the link goes with its test.
        let gone = flows.wait_for(|flows| *flows).await.is_err() || length == 0;
        if gone || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
