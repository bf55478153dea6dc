//! Keys of issuers (RFC 7517), and the signatures that they make (RFC 7518).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

/// Keys of one issuer that are looked at.
const KEYS_MAX: usize = 64;

/// How tokens are signed. What is not here is not believed: neither `none`, nor a signature with a
/// secret, which could be made with a key that everybody knows (RFC 8725, 2.1).
#[derive(Clone, Copy)]
enum Algorithm {
    Rsa(&'static RsaParameters),
    Curve(&'static str, &'static dyn VerificationAlgorithm),
}

static ALGORITHMS: [(&str, Algorithm); 8] = [
    ("RS256", Algorithm::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    ("RS384", Algorithm::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
    ("RS512", Algorithm::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
    ("PS256", Algorithm::Rsa(&RSA_PSS_2048_8192_SHA256)),
    ("PS384", Algorithm::Rsa(&RSA_PSS_2048_8192_SHA384)),
    ("PS512", Algorithm::Rsa(&RSA_PSS_2048_8192_SHA512)),
    ("ES256", Algorithm::Curve("P-256", &ECDSA_P256_SHA256_FIXED)),
    ("ES384", Algorithm::Curve("P-384", &ECDSA_P384_SHA384_FIXED)),
];

/// Whether signatures of this name can be believed.
pub(super) fn is_known(algorithm: &str) -> bool {
    ALGORITHMS.iter().any(|(name, _)| *name == algorithm)
}

/// A key that signs.
#[derive(Clone, Debug)]
pub struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    public: Public,
}

#[derive(Clone, Debug)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A curve, and a point on it that is not compressed.
    Point(&'static str, Vec<u8>),
}

/// The keys in a JSON Web Key Set that sign; what is of no use here is left out.
///
/// # Errors
/// When it is no set, or nothing in it is of use.
pub fn read(set: &[u8]) -> Result<Vec<Key>, String> {
    let set: Value = serde_json::from_slice(set).map_err(|error| error.to_string())?;
    let keys = set["keys"].as_array().ok_or("it has no list of keys")?;
    let found: Vec<Key> = keys.iter().filter_map(Key::of).take(KEYS_MAX).collect();
    match found.is_empty() {
        true => Err(format!(
            "of {} keys none is of use: expected RSA of 2048 to 8192 bits, or the curves P-256 and \
             P-384",
            keys.len()
        )),
        false => Ok(found),
    }
}

impl Key {
    fn of(key: &Value) -> Option<Self> {
        let text = |field: &str| key[field].as_str();
        let bytes = |field: &str| URL_SAFE_NO_PAD.decode(text(field)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let positive = |bytes: Vec<u8>| {
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    bytes.get(zeros..).map(<[u8]>::to_vec)
                };
                let (n, e) = (positive(bytes("n")?)?, positive(bytes("e")?)?);
                (256..=1024).contains(&n.len()).then_some(Public::Rsa { n, e })?
            }
            ("EC", Some("P-256")) => point("P-256", 32, bytes("x")?, &bytes("y")?)?,
            ("EC", Some("P-384")) => point("P-384", 48, bytes("x")?, &bytes("y")?)?,
            _ => return None,
        };
        let own = |field: &str| text(field).map(str::to_owned);
        Some(Self { id: own("kid"), algorithm: own("alg"), public })
    }

    /// Whether it may have signed a token that names the key `id`.
    pub(super) fn is_named(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.id.as_deref() == Some(id))
    }

    /// Whether `signature` of `message` is its own. A key is for one kind of algorithm, whatever a token
    /// says (RFC 8725, 3.1).
    pub(super) fn has_signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.as_deref().is_some_and(|own| own != algorithm) {
            return false;
        }
        let known = ALGORITHMS.iter().find(|(name, _)| *name == algorithm);
        match (known.map(|(_, algorithm)| *algorithm), &self.public) {
            (Some(Algorithm::Rsa(parameters)), Public::Rsa { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            (Some(Algorithm::Curve(curve, algorithm)), Public::Point(own, point))
                if curve == *own =>
            {
                UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn point(curve: &'static str, size: usize, x: Vec<u8>, y: &[u8]) -> Option<Public> {
    let fits = x.len() == size && y.len() == size;
    fits.then(|| Public::Point(curve, [vec![4], x, y.to_vec()].concat()))
}
