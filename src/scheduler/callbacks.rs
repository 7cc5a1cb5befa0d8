//! Where a service reports the end of what it took on with a 202, and how its report is known to be its own.
//!
//! The address holds a token: HMAC-SHA-256 over run and step (its round included), under a secret of this deployment
//! that every instance shares. So the address is valid before the call is sent, and nothing of it is stored. A token
//! never goes into a log.

use crate::engine::ids::{RunId, StepPath};
use crate::store::error::StoreError;
use crate::store::{Connection, settings};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

/// The setting that holds the secret.
const SETTING: &str = "callback_secret";
/// RFC 3986: everything but the unreserved characters, so that a path is one segment of the address.
const IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Makes and checks the addresses for callbacks.
pub struct Callbacks {
    key: [u8; 32],
    /// Where services reach this deployment, without a trailing slash.
    base_url: String,
}

impl Callbacks {
    /// With the deployment's secret, made at its first use.
    ///
    /// # Errors
    /// When the database cannot be asked, or the setting is no secret of ours.
    pub fn open(connection: &mut Connection, base_url: String) -> Result<Callbacks, StoreError> {
        let proposed = hex::encode(rand::random::<[u8; 32]>());
        let settled = settings::settle(connection, SETTING, &proposed)?;
        let key = hex::decode(settled).ok().and_then(|bytes| bytes.try_into().ok());
        let key =
            key.ok_or_else(|| StoreError::Corrupt(format!("the setting {SETTING} is not 32 bytes, hex")))?;
        Ok(Callbacks { key, base_url })
    }

    /// What is sent as `Act-Callback-Url`.
    pub fn url(&self, run: RunId, step: &StepPath) -> String {
        let token = hex::encode(self.mac(run, step).finalize().into_bytes());
        let step = utf8_percent_encode(step.as_str(), IN_A_SEGMENT);
        format!("{}/acts/runs/{run}/steps/{step}/callback?token={token}", self.base_url)
    }

    /// Whether the token is the one of this step. Takes the same time over every wrong one.
    pub fn is_ours(&self, run: RunId, step: &StepPath, token: &str) -> bool {
        hex::decode(token).is_ok_and(|token| self.mac(run, step).verify_slice(&token).is_ok())
    }

    fn mac(&self, run: RunId, step: &StepPath) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        // A number has no slash, so that no two places read the same.
        mac.update(format!("callback/{run}/{step}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callbacks() -> Callbacks {
        Callbacks { key: [7; 32], base_url: "https://acts.example.gov".to_owned() }
    }

    fn token(url: &str) -> &str {
        url.split_once("?token=").expect("a token").1
    }

    #[test]
    fn an_address_is_one_url_whatever_the_step_is_called() {
        let step = StepPath::from_log("checks#2[3]/fees~undo");
        let url = callbacks().url(RunId(9001), &step);
        let expected =
            "https://acts.example.gov/acts/runs/9001/steps/checks%232%5B3%5D%2Ffees~undo/callback?token=";
        assert!(url.starts_with(expected), "{url}");
        assert_eq!(token(&url).len(), 64);
    }

    #[test]
    fn a_token_is_bound_to_run_step_and_round() {
        let (all, step) = (callbacks(), StepPath::top("draft", 1));
        let url = all.url(RunId(9001), &step);
        assert!(all.is_ours(RunId(9001), &step, token(&url)));
        assert!(!all.is_ours(RunId(9002), &step, token(&url)));
        assert!(!all.is_ours(RunId(9001), &StepPath::top("draft", 2), token(&url)));
        assert!(!all.is_ours(RunId(9001), &step.undo(), token(&url)));
        for wrong in ["", "zz", "00", &"0".repeat(64), &format!("{}00", token(&url))] {
            assert!(!all.is_ours(RunId(9001), &step, wrong), "{wrong}");
        }
        let other = Callbacks { key: [8; 32], base_url: String::new() };
        assert!(!other.is_ours(RunId(9001), &step, token(&url)));
    }
}
