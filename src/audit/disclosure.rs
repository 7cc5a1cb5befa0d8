//! Values that a leaf does not hold: salted disclosures beside the log, named in the leaf by digest alone.
//!
//! The form is that of RFC 9901 (SD-JWT), section 4.2: a disclosure is the base64url form of the JSON array
//! `[salt, name, value]`, its digest the base64url form of the SHA-256 of that text, and `_sd` at the top of the leaf
//! lists the digests. The name is the JSON pointer of the place from the top of the leaf, where null stands. Salts
//! come in as arguments. A disclosure that is deleted takes the value with it for good; the leaf, its hash and every
//! proof stay as they are.

use super::entry::Opened;
use crate::engine::redact::{ERASED, SEALED};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The member of a leaf that lists the digests.
pub const DIGESTS: &str = "_sd";
/// How the canonical form of a leaf with sealed values begins: no other member sorts before the digests.
const BEGINNING: &[u8] = b"{\"_sd\":[";
/// RFC 9901, section 9.3 recommends at least 128 bits.
pub type Salt = [u8; 16];

/// A value that is to be taken out of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// JSON pointer into the detail.
    pub pointer: String,
    /// Which value of the payload it is, or is a copy of.
    pub path: String,
    pub exemption: Option<String>,
    pub salt: Salt,
}

/// A disclosure, as it lies beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    /// JSON pointer from the top of the leaf: `/detail/payload/applicant/ssn`.
    pub place: String,
    /// Which value of the payload it is, or is a copy of.
    pub path: String,
    /// As `_sd` has it.
    pub digest: String,
    /// None: erased.
    pub text: Option<String>,
    /// How long the value is, as JSON.
    pub bytes: usize,
    /// Under which exemption it is withheld.
    pub exemption: Option<String>,
}

/// Whether a leaf has sealed values, by its first bytes.
pub fn has_any(leaf: &[u8]) -> bool {
    leaf.starts_with(BEGINNING)
}

/// The digest of a disclosure's text (RFC 9901, section 4.2.3).
pub fn digest(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

/// The text of a disclosure (RFC 9901, section 4.2.1).
fn text(salt: Salt, name: &str, value: &Value) -> String {
    let array = Value::from(vec![BASE64_URL_SAFE_NO_PAD.encode(salt).into(), name.into(), value.clone()]);
    BASE64_URL_SAFE_NO_PAD.encode(array.to_string())
}

/// Salt, name and value of a disclosure's text.
fn read(text: &str) -> Result<(String, Value), String> {
    let bytes =
        BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("it is not base64url: {error}"))?;
    let array: Value = serde_json::from_slice(&bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    match array {
        Value::Array(parts) => match <[Value; 3]>::try_from(parts) {
            Ok([Value::String(_), Value::String(name), value]) => Ok((name, value)),
            _ => Err("it is not salt, name and value".to_owned()),
        },
        _ => Err("it is not a list".to_owned()),
    }
}

/// Takes the values out of a detail, and leaves null in their places. What is not there is left out.
pub(super) fn take_out(detail: &mut Value, covers: Vec<Cover>) -> Vec<Disclosure> {
    let out = |cover: Cover| {
        let value = detail.pointer_mut(&cover.pointer)?.take();
        let place = format!("/detail{}", cover.pointer);
        let text = text(cover.salt, &place, &value);
        let (digest, bytes) = (digest(&text), value.to_string().len());
        let Cover { path, exemption, .. } = cover;
        Some(Disclosure { place, path, digest, text: Some(text), bytes, exemption })
    };
    covers.into_iter().filter_map(out).collect()
}

/// In order, so that their order tells nothing (RFC 9901, section 4.2.4.1).
pub(super) fn digests(disclosures: &[Disclosure]) -> Vec<&str> {
    let mut digests: Vec<&str> = disclosures.iter().map(|disclosure| disclosure.digest.as_str()).collect();
    digests.sort_unstable();
    digests
}

pub(super) fn digests_of(leaf: &Map<String, Value>) -> Result<Vec<String>, String> {
    let wrong = || format!("the leaf's `{DIGESTS}` is no list of digests");
    let Some(listed) = leaf.get(DIGESTS) else { return Ok(Vec::new()) };
    let digest = |digest: &Value| digest.as_str().map(str::to_owned).ok_or_else(wrong);
    listed.as_array().ok_or_else(wrong)?.iter().map(digest).collect()
}

impl Opened {
    /// Checks that what lies beside the log is what the leaf names, nothing missing, nothing more.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn check_disclosures(&self, disclosures: &[Disclosure]) -> Result<(), String> {
        if digests(disclosures) != self.digests.iter().map(String::as_str).collect::<Vec<_>>() {
            return Err(
                "a disclosure that the leaf names is missing, or one lies there that it does not name"
                    .to_owned(),
            );
        }
        for disclosure in disclosures {
            let Some(text) = &disclosure.text else { continue };
            let place = &disclosure.place;
            let fits = digest(text) == disclosure.digest && read(text)?.0 == *place;
            if !fits {
                return Err(format!("the disclosure of {place} is not the one that was sealed"));
            }
        }
        Ok(())
    }

    /// Puts the disclosed values in their places; [`ERASED`] where a value was erased.
    ///
    /// # Errors
    /// As [`Opened::check_disclosures`].
    pub fn disclose(&mut self, disclosures: &[Disclosure]) -> Result<(), String> {
        self.check_disclosures(disclosures)?;
        for disclosure in disclosures {
            let value = match &disclosure.text {
                Some(text) => read(text)?.1,
                None => ERASED.into(),
            };
            self.put(disclosure, value)?;
        }
        Ok(())
    }

    /// Puts [`SEALED`] in the places of what is sealed; [`ERASED`] where a value was erased.
    ///
    /// # Errors
    /// A sentence: a place is not there.
    pub fn veil(&mut self, disclosures: &[Disclosure]) -> Result<(), String> {
        for disclosure in disclosures {
            let stand_in = if disclosure.text.is_some() { SEALED } else { ERASED };
            self.put(disclosure, stand_in.into())?;
        }
        Ok(())
    }

    fn put(&mut self, disclosure: &Disclosure, value: Value) -> Result<(), String> {
        let pointer = disclosure.place.strip_prefix("/detail").unwrap_or(&disclosure.place);
        let place = self.detail.pointer_mut(pointer);
        *place.ok_or_else(|| format!("what is sealed has no place at {}", disclosure.place))? = value;
        Ok(())
    }
}

impl Disclosure {
    /// The value. None: it is erased.
    ///
    /// # Errors
    /// A sentence: the text is no disclosure.
    pub fn value(&self) -> Result<Option<Value>, String> {
        self.text.as_deref().map(|text| read(text).map(|(_, value)| value)).transpose()
    }
}

#[cfg(test)]
mod tests;
