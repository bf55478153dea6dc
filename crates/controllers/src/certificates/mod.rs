//! CertificateSigningRequests: approved by rule, signed by the cluster's authority, and cleaned away.
//!
//! What a signer may sign is upstream's; who may approve is decided by admission. The key of the
//! authority is no part of a snapshot: a plan asks for the certificate.

mod approve;
mod clean;
mod request;
mod rules;
mod sign;

pub(crate) use self::approve::APPROVER;
pub(crate) use self::clean::CLEANER;
pub(crate) use self::rules::is_own_signer;
pub(crate) use self::sign::SIGNER;

#[cfg(test)]
mod tests;
