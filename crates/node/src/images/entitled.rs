//! Who may have an image that is here: upstream's KEP-2535, with its policy
//! `NeverVerifyPreloadedImages`. An image that was pulled with a pull secret is given to pods that show
//! the same one, or one with the same login; else it is pulled again, with what they have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::credentials::{Credentials, Login, SecretRef};
use super::reference::Reference;

/// So many logins are remembered of a name; older ones must be shown to the registry again.
const LOGINS_MAX: usize = 100;

/// With what an image was pulled, by its names without tags.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Entitled(BTreeMap<String, Shown>);

/// What the registry was shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    /// Nothing, once: it gives it to everybody, or to this machine.
    everybody: bool,
    logins: Vec<Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    secret: SecretRef,
    /// Of name and password.
    hash: String,
}

impl Shown {
    /// What nobody had to show anything for.
    pub fn nothing() -> Self {
        Self { everybody: true, logins: Vec::new() }
    }

    /// A login of a pull secret.
    pub fn login(login: &Login) -> Self {
        let known = Known { secret: login.secret.clone(), hash: login.hash() };
        Self { everybody: false, logins: vec![known] }
    }

    fn add(&mut self, other: Self) {
        if self.everybody || other.everybody {
            *self = Self::nothing();
            return;
        }
        for known in other.logins {
            self.logins.retain(|old| old.secret != known.secret);
            self.logins.push(known);
        }
        let surplus = self.logins.len().saturating_sub(LOGINS_MAX);
        self.logins.drain(..surplus);
    }
}

impl Entitled {
    /// The image was had under this name.
    pub fn add(&mut self, name: &Reference, shown: Shown) {
        self.0.entry(name.name()).or_default().add(shown);
    }

    /// Whether who has these credentials may have the image, which they call so.
    pub fn may(&self, called: &str, credentials: &Credentials) -> bool {
        // It was here before anybody pulled it.
        if self.0.is_empty() {
            return true;
        }
        let name = Reference::parse(called).map(|reference| reference.name()).unwrap_or_default();
        let Some(shown) = self.0.get(&name) else {
            // Called by its ID: there is no name to show anything for, so it is everybody's or nobody's.
            return self.0.values().any(|shown| shown.everybody);
        };
        let matching = credentials.for_name(&name);
        let is_known = |known: &Known| {
            let same = |login: &&Login| login.secret == known.secret || login.hash() == known.hash;
            // A login that a mirror took stands under the mirror's name.
            matching.iter().any(same) || credentials.all().any(|login| login.hash() == known.hash)
        };
        shown.everybody || shown.logins.iter().any(is_known)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str) -> SecretRef {
        SecretRef { namespace: "ns".into(), name: name.into(), uid: format!("uid-{name}") }
    }

    fn with(name: &str, server: &str, password: &str) -> Credentials {
        let mut credentials = Credentials::default();
        let auths = json!({"auths": {server: {"username": "me", "password": password}}});
        credentials.add(&secret(name), auths.to_string().as_bytes(), false).unwrap();
        credentials
    }

    fn pulled(credentials: &Credentials) -> Entitled {
        let name = Reference::parse("r.example.com/app:1").unwrap();
        let login = credentials.for_name(&name.name()).first().copied();
        let mut entitled = Entitled::default();
        entitled.add(&name, login.map_or_else(Shown::nothing, Shown::login));
        entitled
    }

    #[test]
    fn who_shows_the_same_secret_or_the_same_login_may() {
        let own = with("a", "r.example.com", "secret");
        let entitled = pulled(&own);
        let may = |credentials: &Credentials| entitled.may("r.example.com/app:2", credentials);
        assert!(may(&own));
        assert!(may(&with("a", "r.example.com", "changed")), "the same Secret");
        assert!(may(&with("b", "r.example.com", "secret")), "the same login");
        assert!(!may(&with("b", "r.example.com", "other")));
        assert!(!may(&with("a", "elsewhere.example.com", "other")), "it has nothing for the image");
        assert!(!may(&Credentials::default()));
        assert!(!entitled.may("r.example.com/other:1", &own), "it was had under another name");
        assert!(!entitled.may("sha256:none", &own));
    }

    #[test]
    fn what_was_loaded_or_is_given_to_everybody_is_free() {
        let nobody = Credentials::default();
        assert!(Entitled::default().may("r.example.com/app:1", &nobody));
        let mut entitled = pulled(&nobody);
        assert!(entitled.may("r.example.com/app:1", &nobody));
        assert!(entitled.may("sha256:0123456789ab", &nobody), "by its ID");
        let own = with("a", "r.example.com", "secret");
        let name = Reference::parse("r.example.com/app:1").unwrap();
        entitled.add(&name, Shown::login(own.for_name("r.example.com/app")[0]));
        assert!(entitled.may("r.example.com/app:1", &nobody), "it stays so");
    }

    #[test]
    fn records_are_read_back_and_do_not_grow_for_ever() {
        let mut entitled = pulled(&with("a", "r.example.com", "secret"));
        let name = Reference::parse("r.example.com/app:1").unwrap();
        for number in 0..2 * LOGINS_MAX {
            let credentials = with(&number.to_string(), "r.example.com", &number.to_string());
            entitled.add(&name, Shown::login(credentials.for_name("r.example.com/app")[0]));
        }
        let json = serde_json::to_string(&entitled).unwrap();
        assert_eq!(serde_json::from_str::<Entitled>(&json).unwrap(), entitled);
        assert_eq!(entitled.0["r.example.com/app"].logins.len(), LOGINS_MAX);
    }
}
