//! A token: taken apart, and believed or not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coracle_api::Timestamp;
use serde_json::{Map, Value};

use super::configuration::Issuer;
use super::keys::{self, Key};

/// Bytes that a token may have.
const TOKEN_MAX: usize = 64 << 10;
/// Seconds that clocks may differ, of an issuer whose tokens hold from now on.
const SKEW: f64 = 300.0;
/// How one large issuer calls itself in some of its tokens.
const GOOGLE: (&str, &str) = ("accounts.google.com", "https://accounts.google.com");

/// What a token says; nobody vouches for it yet.
pub struct Token<'a> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// None of the keys has signed it: another one may have.
    Unsigned(String),
    /// For good.
    Refused(String),
}

impl<'a> Token<'a> {
    /// Takes a token apart (RFC 7515, section 3.1); `None` for what is none.
    #[must_use]
    pub fn read(token: &'a str) -> Option<Self> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let object = |part: &str| match serde_json::from_slice(&decoded(part)?).ok()? {
            Value::Object(fields) => Some(fields),
            _ => None,
        };
        let (header, claims) = (object(header)?, object(claims)?);
        Some(Self { header, claims, signed, signature: decoded(signature)? })
    }

    /// Who has issued it, as it says itself.
    #[must_use]
    pub fn issuer(&self) -> &str {
        let said = self.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        if said == GOOGLE.0 { GOOGLE.1 } else { said }
    }

    /// What it says, if `issuer` has said so with one of its `keys`, to us, and it still holds.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn claims(&self, issuer: &Issuer, keys: &[Key], now: Timestamp) -> Result<Value, Doubt> {
        self.check_signature(keys)?;
        if self.issuer() != issuer.url {
            let said = self.issuer();
            return Err(refused(format!(
                "oidc: id token issued by a different provider, expected {:?} got {said:?}",
                issuer.url
            )));
        }
        self.check_audience(issuer)?;
        self.check_times(now)?;
        Ok(Value::Object(self.claims.clone()))
    }

    fn check_signature(&self, keys: &[Key]) -> Result<(), Doubt> {
        let text = |field: &str| self.header.get(field).and_then(Value::as_str);
        let algorithm = text("alg").unwrap_or_default();
        if !keys::is_known(algorithm) {
            let why = format!("oidc: id token signed with unsupported algorithm: {algorithm:?}");
            return Err(refused(why));
        }
        // What must be understood is not (RFC 7515, section 4.1.11).
        if self.header.contains_key("crit") {
            return Err(refused("oidc: malformed jwt: unsupported crit header".to_owned()));
        }
        let mut named = keys.iter().filter(|key| key.is_named(text("kid")));
        let is_own = |key: &Key| key.has_signed(algorithm, self.signed.as_bytes(), &self.signature);
        match named.any(is_own) {
            true => Ok(()),
            false => Err(Doubt::Unsigned(
                "failed to verify signature: failed to verify id token signature".to_owned(),
            )),
        }
    }

    /// It is meant for us (RFC 8725, section 3.9).
    fn check_audience(&self, issuer: &Issuer) -> Result<(), Doubt> {
        let said: Vec<&str> = match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if said.iter().any(|audience| issuer.audiences.iter().any(|own| own == audience)) {
            return Ok(());
        }
        let shown = |all: &[&str]| {
            let quoted: Vec<String> = all.iter().map(|it| format!("{it:?}")).collect();
            format!("[{}]", quoted.join(" "))
        };
        let own: Vec<&str> = issuer.audiences.iter().map(String::as_str).collect();
        let why = format!("oidc: expected audience in {} got {}", shown(&own), shown(&said));
        Err(refused(why))
    }

    /// Its time has come and is not over (RFC 7519, section 4.1). One without an end is not believed.
    fn check_times(&self, now: Timestamp) -> Result<(), Doubt> {
        let now = now.as_second() as f64;
        let at = |field: &str| self.claims.get(field).and_then(Value::as_f64);
        let ends = at("exp").unwrap_or_default();
        if ends < now {
            return Err(refused(format!("oidc: token is expired (Token Expiry: {ends})")));
        }
        for (field, name) in [("nbf", "nbf (not before)"), ("iat", "iat (issued at)")] {
            if let Some(begins) = at(field).filter(|begins| *begins > now + SKEW) {
                let why = format!("oidc: current time {now} before the {name} time: {begins}");
                return Err(refused(why));
            }
        }
        Ok(())
    }
}

fn refused(why: String) -> Doubt {
    Doubt::Refused(why)
}
