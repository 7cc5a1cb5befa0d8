//! The key that signs the log's heads: Ed25519, in the data directory of whoever signs.
//!
//! Owns `log-key.pem`, and `log-key.retiring.pem` while keys change: both sign then, so that whoever knows only one
//! of them can still check. Copy the files to another instance to let it sign too.

use super::key_file::{self, KeyFile, KeyFileError};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{self, VerifierKey};
use crate::export::backup::writing::Signer;
use ed25519_dalek::SigningKey;
use std::path::{Path, PathBuf};

const IF_LOST: &str = "move it away and run `hms-act rotate-log-key`: a new key signs from then on, and what the old \
                       one signed stays checkable.";
const ACTIVE: KeyFile = KeyFile { name: "log-key.pem", if_lost: IF_LOST };
const RETIRING: KeyFile = KeyFile { name: "log-key.retiring.pem", if_lost: IF_LOST };

/// The keys that this instance signs with.
pub struct LogKeys {
    active: SigningKey,
    retiring: Option<SigningKey>,
}

impl LogKeys {
    /// Reads the keys, and makes the first one if there is none.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load_or_create(data_dir: &Path) -> Result<LogKeys, KeyFileError> {
        Ok(LogKeys { active: ACTIVE.load_or_create(data_dir)?, retiring: RETIRING.load(data_dir)? })
    }

    /// Reads the keys. None: this data directory has none.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load(data_dir: &Path) -> Result<Option<LogKeys>, KeyFileError> {
        let Some(active) = ACTIVE.load(data_dir)? else { return Ok(None) };
        Ok(Some(LogKeys { active, retiring: RETIRING.load(data_dir)? }))
    }

    /// A new active key; the one before it, if it is there, signs along from now on. `publish` tells the others of it
    /// before the files change: what it refuses changes nothing.
    ///
    /// # Errors
    /// See [`KeyFileError`], and what `publish` says.
    pub fn rotate<E: From<KeyFileError>>(
        data_dir: &Path,
        publish: impl FnOnce(&LogKeys) -> Result<(), E>,
    ) -> Result<LogKeys, E> {
        let keys = LogKeys { active: key_file::generate()?, retiring: ACTIVE.load(data_dir)? };
        publish(&keys)?;
        if let Some(before) = &keys.retiring {
            RETIRING.replace(data_dir, before)?;
        }
        ACTIVE.replace(data_dir, &keys.active)?;
        Ok(keys)
    }

    /// What others check signatures with: the active key's, under the log's name.
    pub fn vkey(&self, origin: &str) -> String {
        vkey(&self.active, origin)
    }

    /// The retiring key's.
    pub fn retiring_vkey(&self, origin: &str) -> Option<String> {
        self.retiring.as_ref().map(|key| vkey(key, origin))
    }

    /// The signed note. The retiring key signs along if it `still` may.
    pub fn sign(&self, checkpoint: &Checkpoint, retiring_still: bool) -> String {
        let along = self.retiring.as_ref().filter(|_| retiring_still);
        let keys: Vec<&SigningKey> = [Some(&self.active), along].into_iter().flatten().collect();
        checkpoint.sign(&keys)
    }
}

/// Signs the manifests of backups, with the keys as they are in the data directory at that moment.
pub struct ManifestSigner {
    pub data_dir: PathBuf,
    pub origin: String,
}

impl Signer for ManifestSigner {
    fn vkey(&self) -> Result<Option<String>, String> {
        let keys = LogKeys::load(&self.data_dir).map_err(|error| error.to_string())?;
        Ok(keys.map(|keys| keys.vkey(&self.origin)))
    }

    fn sign(&self, text: &str) -> Result<String, String> {
        let keys = LogKeys::load(&self.data_dir).map_err(|error| error.to_string())?;
        let keys = keys.ok_or("the key that signs the log is gone from the data directory")?;
        let keys: Vec<&SigningKey> =
            [Some(&keys.active), keys.retiring.as_ref()].into_iter().flatten().collect();
        // One line of JSON: nobody can take it for a checkpoint, which has three lines.
        Ok(note::sign(text, &self.origin, &keys))
    }
}

fn vkey(key: &SigningKey, origin: &str) -> String {
    let key = VerifierKey::new(origin, key.verifying_key().as_bytes());
    key.expect("the origin was checked to be a name, and the key is one").vkey()
}
