//! The database as the program needs it: private or given, with its roles, migrated, and safe to write to.

use crate::config::{Config, Secret};
use crate::scheduler::membership::Membership;
use crate::store::bootstrap::{self, AppLogin};
use crate::store::embedded::Cluster;
use crate::store::replica::Replica;
use crate::store::{Connection, Pool, migrate, pool, pooler};
use anyhow::{Context, bail};
use std::sync::Arc;

pub struct Database {
    /// The app's own login.
    pub app_url: String,
    /// The same database through a pooler.
    pooled_url: Option<String>,
    cluster: Option<Cluster>,
}

impl Database {
    /// Starts or adopts the private server, or goes to the given one; migrates where the owner's login is known.
    /// Blocks.
    ///
    /// # Errors
    /// One line that says what to do.
    pub fn open(config: &Config) -> anyhow::Result<Database> {
        let database = match &config.database_url {
            Some(url) => Database::given(config, url),
            None => {
                let cluster = Cluster::start(&config.data_dir)?;
                Database { app_url: cluster.app_url(), pooled_url: None, cluster: Some(cluster) }
            }
        };
        match database.owner_url(config) {
            Some(owner_url) => {
                database.migrate(&owner_url)?;
            }
            None => {
                let pending = migrate::pending(&database.app_url)?;
                if !pending.is_empty() {
                    bail!(
                        "DATABASE_URL: the database lacks {} migration(s). Run `hms-act migrate` with \
                         HMS_ACT_OWNER_DATABASE_URL set to a login that may migrate",
                        pending.len()
                    );
                }
            }
        }
        let newer = migrate::newer(&database.app_url)?;
        if newer > 0 {
            tracing::warn!(
                migrations = newer,
                "the database is of a newer version of this program; what that version wrote is left to it"
            );
        }
        migrate::app_role_cannot_alter_log(&mut pool::connect(&database.app_url)?, pool::APP_VARIABLE)
            .map_err(anyhow::Error::msg)?;
        Ok(database)
    }

    fn given(config: &Config, url: &Secret) -> Database {
        let pooled_url = config.pooled_database_url.as_ref().map(|url| url.expose().to_owned());
        Database { app_url: url.expose().to_owned(), pooled_url, cluster: None }
    }

    /// The private server, if it is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The login that may do everything. None: it was not given.
    pub fn owner_url(&self, config: &Config) -> Option<String> {
        match &self.cluster {
            Some(cluster) => Some(cluster.owner_url()),
            None => config.owner_database_url.as_ref().map(|url| url.expose().to_owned()),
        }
    }

    /// Makes what is missing, as the owner; the connection closes before this returns.
    fn migrate(&self, owner_url: &str) -> anyhow::Result<usize> {
        let login = AppLogin::from_url(&self.app_url).context("DATABASE_URL")?;
        bootstrap::prepare(owner_url, login.as_ref())?;
        Ok(migrate::run(owner_url)?)
    }

    /// `hms-act migrate`.
    ///
    /// # Errors
    /// When neither a private server nor the owner's login is there.
    pub fn migrate_only(config: &Config) -> anyhow::Result<usize> {
        let Some(url) = &config.database_url else {
            let database = Database::open(config)?;
            database.close()?;
            return Ok(0);
        };
        let database = Database::given(config, url);
        let owner_url = database.owner_url(config).context(
            "HMS_ACT_OWNER_DATABASE_URL: not set. Migrating needs a login that may create roles and tables",
        )?;
        database.migrate(&owner_url)
    }

    /// A newer version of this program has migrated a given database.
    ///
    /// # Errors
    /// One line when the database cannot be reached.
    pub fn is_newer(config: &Config) -> anyhow::Result<bool> {
        let Some(url) = &config.database_url else { return Ok(false) };
        Ok(migrate::newer(url.expose())? > 0)
    }

    /// Connections for a command, directly.
    ///
    /// # Errors
    /// One line when the database cannot be reached.
    pub fn pool(&self, size: u32) -> anyhow::Result<Pool> {
        Ok(pool::pool(&self.app_url, size)?)
    }

    /// Connections for pages, calls and background readers: through the pooler, if there is one. Blocks.
    ///
    /// # Errors
    /// One line when the database cannot be reached, or the pooler leads to another one.
    pub fn serving_pool(&self, size: u32) -> anyhow::Result<Pool> {
        let Some(pooled_url) = &self.pooled_url else { return self.pool(size) };
        let pool = pool::pooled(pooled_url, size)?;
        let mut pooled = pool.get()?;
        pooler::leads_to_same(&mut pool::connect(&self.app_url)?, &mut pooled)?;
        migrate::app_role_cannot_alter_log(&mut pooled, pool::POOLED_VARIABLE).map_err(anyhow::Error::msg)?;
        let lacking = pooler::lacking(&mut pooled)?;
        if !lacking.is_empty() {
            tracing::warn!("{}", pooler::advice(&lacking));
        }
        drop(pooled);
        Ok(pool)
    }

    /// The replica of this instance's database, if there is one. Blocks.
    ///
    /// # Errors
    /// One line when it is no standby, or one of another database.
    pub fn replica(
        config: &Config,
        primary: &mut Connection,
        membership: &Membership,
    ) -> anyhow::Result<Option<Arc<Replica>>> {
        let Some(url) = &config.read_database_url else { return Ok(None) };
        Ok(Some(Arc::new(Replica::open(url.expose(), primary, Arc::clone(&membership.id))?)))
    }

    /// Stops the private server, unless another instance uses it.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn close(self) -> anyhow::Result<()> {
        self.cluster.map_or(Ok(()), Cluster::stop).map_err(anyhow::Error::from)
    }
}
