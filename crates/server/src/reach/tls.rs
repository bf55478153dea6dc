//! Whom the certificate of such a server must be from.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::dial::Anyone;

/// Where distributions keep the authorities that a host trusts.
const OF_HOST: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What the host trusts, as it was when it was first asked for.
static HOST: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let read = OF_HOST.iter().find_map(|path| std::fs::read(path).ok());
    read.map(|pem| certificates(&pem)).unwrap_or_default()
});

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// Who vouches for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// An authority in this bundle (PEM, in base64), or one that the host trusts, when it is empty.
    Bundle(String),
    /// Nobody has to, since its owner said so: whoever is there must only have its key.
    Anyone,
}

/// How to talk to whom `trust` trusts; `identity` is shown to whoever asks for it.
///
/// # Errors
/// When it is no bundle.
pub(crate) fn config(
    trust: &Trust,
    identity: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<Arc<ClientConfig>, String> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Bundle(bundle) => Arc::new(Verifier::new(trusted(bundle)?)?),
        Trust::Anyone => Arc::new(Anyone::default()),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn trusted(ca_bundle: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if ca_bundle.is_empty() {
        return Ok(HOST.clone());
    }
    let pem = STANDARD.decode(ca_bundle).map_err(|error| error.to_string())?;
    let given = certificates(&pem);
    match given.is_empty() {
        true => Err("unable to load root certificates: unable to parse bytes as PEM block".into()),
        false => Ok(given),
    }
}

/// As the web's rules have it (RFC 5280), but for one thing that Go allows: a certificate that is in
/// the bundle itself is trusted, also when it says that it is an authority, as self-signed ones do.
#[derive(Debug)]
struct Verifier {
    /// None trusts nobody.
    rules: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    /// Who shows a certificate must have its key, whoever vouches for it.
    signatures: Anyone,
}

impl Verifier {
    fn new(trusted: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let signatures = Anyone::default();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        if roots.is_empty() {
            return Ok(Self { rules: None, trusted, signatures });
        }
        let provider = Arc::new(ring::default_provider());
        let rules = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let rules = rules.build().map_err(|error| error.to_string())?;
        Ok(Self { rules: Some(rules), trusted, signatures })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(rules) = &self.rules else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        match rules.verify_server_cert(certificate, chain, name, ocsp, now) {
            Err(error) if is_of_authority(&error) => {
                if !self.trusted.iter().any(|trusted| trusted == certificate) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                let parsed = ParsedCertificate::try_from(certificate)?;
                rustls::client::verify_server_name(&parsed, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// Whether all that is wrong with a certificate so far is that it says that it is an authority: the
/// rules look at the dates before, and at the issuer after.
fn is_of_authority(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other))
        if other.0.to_string().contains("CaUsedAsEndEntity"))
}

/// Why a handshake failed, in Go's words.
pub(crate) fn words(error: &std::io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        return error.to_string();
    };
    let Error::InvalidCertificate(why) = error else { return format!("tls: {error}") };
    let why = match why {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let dns = |name: &String| {
                name.strip_prefix("DnsName(\"")
                    .and_then(|name| name.strip_suffix("\")"))
                    .map(str::to_owned)
            };
            let names: Vec<String> = presented.iter().filter_map(dns).collect();
            match names.as_slice() {
                [] => format!(
                    "certificate is not valid for any names, but wanted to match {expected}"
                ),
                names => format!("certificate is valid for {}, not {expected}", names.join(", ")),
            }
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// What comes of a certificate for `hook.shop.svc`, when `trusts` is what the bundle has.
    fn verified(
        name: &str,
        days: u32,
        is_authority: bool,
        trusts: impl Fn(&CertificateDer<'static>) -> Vec<CertificateDer<'static>>,
    ) -> Result<(), String> {
        let mut params = CertificateParams::new(vec!["hook.shop.svc".to_owned()]).unwrap();
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der().clone();
        let verifier = Verifier::new(trusts(&der)).unwrap();
        let day = std::time::Duration::from_secs(24 * 3600);
        let now = UnixTime::since_unix_epoch(MADE + day * days);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verified = verifier.verify_server_cert(&der, &[], &name, &[], now);
        verified.map(drop).map_err(|error| words(&std::io::Error::other(error)))
    }

    /// A time at which certificates are good that were made with nothing said about it.
    const MADE: std::time::Duration = std::time::Duration::from_secs(1_700_000_000);

    #[test]
    fn a_certificate_in_the_bundle_is_trusted_even_if_it_says_that_it_is_an_authority() {
        let itself = |der: &CertificateDer<'static>| vec![der.clone()];
        let nobody = |_: &CertificateDer<'static>| Vec::new();
        let unknown = "tls: failed to verify certificate: x509: certificate signed by unknown \
                       authority";
        for is_authority in [false, true] {
            assert_eq!(verified("hook.shop.svc", 1, is_authority, itself), Ok(()));
            let other = "tls: failed to verify certificate: x509: certificate is valid for \
                         hook.shop.svc, not other.shop.svc";
            assert_eq!(verified("other.shop.svc", 1, is_authority, itself), Err(other.into()));
            assert_eq!(verified("hook.shop.svc", 1, is_authority, nobody), Err(unknown.into()));
            let over = "tls: failed to verify certificate: x509: certificate has expired or is not \
                        yet valid";
            assert_eq!(
                verified("hook.shop.svc", 1_000_000, is_authority, itself),
                Err(over.into())
            );
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let config = |bundle: &str| config(&Trust::Bundle(bundle.to_owned()), None);
        let refused = config(&STANDARD.encode("nothing")).unwrap_err();
        assert!(refused.contains("unable to parse bytes as PEM block"), "{refused}");
        assert!(config("not base64").is_err());
    }
}
