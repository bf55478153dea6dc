//! An authority: its key, made once, and its certificate.

use std::fs;
use std::io;
use std::path::Path;

use coracle_api::Timestamp;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;

use super::{PkiError, authority_params, der_of, key_in, write_private};

/// Who signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
    pub(super) der: CertificateDer<'static>,
}

impl Authority {
    /// The authority called `name`, in the files `FILE.key` and `FILE.crt` of `directory`, which are
    /// made when they are missing. The certificate follows from the key and the day it was made.
    pub(super) fn open(
        directory: &Path,
        file: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let key = key_in(&directory.join(format!("{file}.key")))?;
        let path = directory.join(format!("{file}.crt"));
        let params = authority_params(name, now);
        let pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = params.self_signed(&key).map_err(PkiError::Sign)?.pem();
                write_private(&path, &pem)?;
                pem
            }
            Err(source) => return Err(PkiError::File { path, source }),
        };
        let der = der_of(&pem, &path)?;
        Ok(Self { issuer: Issuer::new(params, key), pem, der })
    }

    /// What signs.
    pub(super) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    /// A certificate as `params` say, and its key.
    pub(super) fn sign(
        &self,
        params: CertificateParams,
    ) -> Result<(rcgen::Certificate, KeyPair), PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Sign)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Sign)?;
        Ok((certificate, key))
    }
}
