//! Tokens of other issuers (OpenID Connect): which of them are believed, and who their bearers are.
//! Pure: what issuers say is fetched elsewhere.
//!
//! What is checked follows RFC 7519 (tokens), RFC 7515 (signatures), RFC 7517 (keys) and RFC 8725 (what
//! went wrong elsewhere); what is made of it is upstream's `authenticator/token/oidc`.

pub mod configuration;
pub mod keys;
pub mod mapping;
pub mod token;

#[cfg(test)]
mod tests;
