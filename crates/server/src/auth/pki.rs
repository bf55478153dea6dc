//! The certificates of a cluster: authorities of its own, made when they are missing, and what they
//! sign.

mod authority;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::Timestamp;
use coracle_api::certificates::{self, Certificate, CertificateRequest};
use coracle_store::files;
use jiff::SignedDuration;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType, SigningKey as _,
};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use self::authority::Authority;
use crate::auth::issue::{self, Requested};
use crate::auth::tokens::{Tokens, UnusableKey};

/// How long the authority is valid.
const AUTHORITY_YEARS: i32 = 10;
/// How long what it signs is valid; it is signed anew at every start, and when it is old.
const CERTIFICATE_YEARS: i32 = 1;
/// In seconds.
const DAY: i64 = 24 * 60 * 60;
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24 * 365 * 2 / 3);

/// The keys and certificates of one cluster.
pub struct Pki {
    authority: Authority,
    front_proxy: Authority,
    now: Timestamp,
    accounts: KeyPair,
}

/// What the API server shows in TLS: renewed while it runs, before it is over.
pub struct Serving {
    purpose: Purpose,
    signed: ArcSwap<Timestamp>,
    shown: ArcSwap<CertifiedKey>,
}

/// Whom a certificate of the API server is for.
#[derive(Clone, Debug)]
enum Purpose {
    /// Clients: what it calls itself, and the names by which they know it.
    Clients(String, Vec<String>),
    /// Other API servers, to which it hands the requests of its clients.
    Servers,
}

/// Who the API is to other API servers: the name that they are told in a ConfigMap to expect.
const FRONT_PROXY: &str = "front-proxy-client";

impl ResolvesClientCert for Serving {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Serving({:?})", self.purpose)
    }
}

/// Whether a certificate that was signed then is to be signed anew: two thirds of its life are over,
/// or the clock says that it has not begun.
fn is_due(signed: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(signed);
    age > RENEWED_AFTER || age < SignedDuration::ZERO
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold a usable key: {source}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// A certificate could not be made.
    #[error("make a certificate: {0}")]
    Sign(#[source] rcgen::Error),
    /// A client's certificate could not be made.
    #[error("make a certificate: {0}")]
    Issue(#[from] Refused),
    /// TLS does not take what was made.
    #[error("configure TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// The key of the service accounts is of a wrong kind.
    #[error(transparent)]
    Accounts(#[from] UnusableKey),
}

/// Why a certificate is not issued.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Because of the request: it will never be.
    #[error("{0}")]
    Request(String),
    /// It could not be signed now.
    #[error("sign a certificate: {0}")]
    Failed(String),
}

impl Pki {
    /// Reads the keys in `directory`, making it and those that are missing.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Self, PkiError> {
        fs::create_dir_all(directory)
            .map_err(|source| PkiError::File { path: directory.to_owned(), source })?;
        let authority = Authority::open(directory, "ca", "kubernetes", now)?;
        let front_proxy = Authority::open(directory, "front-proxy-ca", "front-proxy-ca", now)?;
        let accounts = key_in(&directory.join("sa.key"))?;
        Ok(Self { authority, front_proxy, now, accounts })
    }

    /// The certificate of the authority, as PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority.pem
    }

    /// The certificate of the authority for what the API shows other API servers, as PEM.
    #[must_use]
    pub fn front_proxy_authority(&self) -> &str {
        &self.front_proxy.pem
    }

    /// What the API shows other API servers.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn front_proxy(&self) -> Result<Arc<Serving>, PkiError> {
        self.shown(Purpose::Servers)
    }

    /// A client certificate for `name` in `groups`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn client(&self, name: &str, groups: &[&str]) -> Result<Identity, PkiError> {
        self.client_from(name, groups, self.now)
    }

    /// The same, from `now` on.
    ///
    /// # Errors
    /// As [`Pki::client`].
    pub fn client_from(
        &self,
        name: &str,
        groups: &[&str],
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::Sign)?;
        // By our own hand, as rcgen puts one organization into a name.
        let (subject, of_key) = (issue::subject(name, groups), key.subject_public_key_info());
        let usages = ["digital signature", "client auth"].map(str::to_owned);
        // Validity begins a day early, for clocks that are behind.
        let from = now.as_second().saturating_sub(DAY);
        let until = from.saturating_add(i64::from(CERTIFICATE_YEARS).saturating_mul(365 * DAY));
        let request = Requested { subject: &subject, key: &of_key, names: &[] };
        let certificate = self.issue(&request, &usages, from, until)?;
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// What the API server speaks TLS with, under `names` (host names and addresses); clients may
    /// show a certificate of our authority.
    ///
    /// # Errors
    /// When the certificate cannot be signed or is not taken.
    pub fn server_config(&self, names: &[String]) -> Result<Arc<ServerConfig>, PkiError> {
        self.serving(names).map(|(config, _)| config)
    }

    /// The same, and what its certificate is renewed with.
    ///
    /// # Errors
    /// As [`Pki::server_config`].
    pub fn serving(&self, names: &[String]) -> Result<(Arc<ServerConfig>, Arc<Serving>), PkiError> {
        self.serving_as("kube-apiserver", names)
    }

    /// What a node speaks TLS with, and what its certificate is renewed with.
    ///
    /// # Errors
    /// As [`Pki::server_config`].
    pub fn serving_node(
        &self,
        name: &str,
        address: IpAddr,
    ) -> Result<(Arc<ServerConfig>, Arc<Serving>), PkiError> {
        self.serving_as(&format!("system:node:{name}"), &[name.to_owned(), address.to_string()])
    }

    fn serving_as(
        &self,
        called: &str,
        names: &[String],
    ) -> Result<(Arc<ServerConfig>, Arc<Serving>), PkiError> {
        let serving = self.shown(Purpose::Clients(called.to_owned(), names.to_vec()))?;
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).map_err(PkiError::Tls)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| PkiError::Tls(rustls::Error::General(error.to_string())))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&serving) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((Arc::new(config), serving))
    }

    /// Signs the certificate of `serving` anew when its time comes; connections that are open keep
    /// the old one. Whether it did.
    ///
    /// # Errors
    /// When it cannot be signed; the old one stays.
    pub fn renew(&self, serving: &Serving, now: Timestamp) -> Result<bool, PkiError> {
        if !is_due(**serving.signed.load(), now) {
            return Ok(false);
        }
        serving.shown.store(Arc::new(self.certified(&serving.purpose, now)?));
        serving.signed.store(Arc::new(now));
        Ok(true)
    }

    fn shown(&self, purpose: Purpose) -> Result<Arc<Serving>, PkiError> {
        let shown = ArcSwap::from_pointee(self.certified(&purpose, self.now)?);
        let signed = ArcSwap::from_pointee(self.now);
        Ok(Arc::new(Serving { purpose, signed, shown }))
    }

    fn certified(&self, purpose: &Purpose, now: Timestamp) -> Result<CertifiedKey, PkiError> {
        let mut params = params(now, CERTIFICATE_YEARS);
        let authority = match purpose {
            Purpose::Clients(called, names) => {
                params.distinguished_name.push(DnType::CommonName, called.as_str());
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                for name in names {
                    params.subject_alt_names.push(match name.parse::<IpAddr>() {
                        Ok(ip) => SanType::IpAddress(ip),
                        Err(_) => {
                            SanType::DnsName(name.as_str().try_into().map_err(PkiError::Sign)?)
                        }
                    });
                }
                &self.authority
            }
            Purpose::Servers => {
                params.distinguished_name.push(DnType::CommonName, FRONT_PROXY);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                &self.front_proxy
            }
        };
        let (certificate, key) = authority.sign(params)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = any_supported_type(&key).map_err(PkiError::Tls)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }

    /// What signs service account tokens.
    ///
    /// # Errors
    /// When the key is of a wrong kind.
    pub fn tokens(&self) -> Result<Tokens, PkiError> {
        Ok(Tokens::new(self.accounts.serialized_der())?)
    }

    /// A certificate for a request (PEM in base64), from `not_before` to `not_after` in seconds since
    /// 1970, or to the authority's own end; in PEM.
    ///
    /// # Errors
    /// What is wrong with the request, or that it cannot be signed.
    pub fn certify(
        &self,
        request: &str,
        usages: &[String],
        not_before: i64,
        not_after: i64,
    ) -> Result<String, Refused> {
        let unreadable =
            || Refused::Request("unable to parse csr: it is no PEM of a request".into());
        let request = CertificateRequest::from_base64(request).ok_or_else(unreadable)?;
        if !issue::proves_possession(&request) {
            let why = "the request is not signed with the key that it is about (RFC 2986, section \
                       4.2), or in a way that is not supported: RSA of 2048 bits or more, ECDSA with \
                       P-256 or P-384, and Ed25519 are";
            return Err(Refused::Request(why.into()));
        }
        let requested =
            Requested { subject: &request.subject, key: &request.key, names: &request.names };
        self.issue(&requested, usages, not_before, not_after)
    }

    fn issue(
        &self,
        requested: &Requested<'_>,
        usages: &[String],
        not_before: i64,
        not_after: i64,
    ) -> Result<String, Refused> {
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(|error| Refused::Failed(error.to_string()))?;
        let authority = Certificate::from_der(&self.authority.der);
        let authority = authority.ok_or_else(|| Refused::Failed("no authority".into()))?;
        let end = authority.not_after().map_or(not_after, |end| not_after.min(end.as_second()));
        let order = issue::Order { requested, usages, not_before, not_after: end, serial };
        let to_be_signed = issue::to_be_signed(&order, &authority).map_err(Refused::Request)?;
        let signature = self.authority.key().sign(&to_be_signed);
        let signature = signature.map_err(|error| Refused::Failed(error.to_string()))?;
        let certificate = issue::signed(&to_be_signed, &authority, &signature);
        Ok(certificates::to_pem(&certificate, certificates::CERTIFICATE))
    }
}

/// The names under which clients reach the API server from the host and from pods, besides the
/// addresses that the caller adds.
#[must_use]
pub fn server_names(domain: &str) -> Vec<String> {
    let short = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
    let mut names: Vec<String> = short.iter().map(ToString::to_string).collect();
    names.push(format!("kubernetes.default.svc.{domain}"));
    names.push("127.0.0.1".into());
    names
}

/// Validity begins a day early, for clocks that are behind.
fn params(now: Timestamp, years: i32) -> CertificateParams {
    let day = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let start = day.saturating_sub(jiff::Span::new().days(1));
    let mut params = CertificateParams::default();
    let date = |day: jiff::civil::Date, years: i32| {
        // The 28th exists in every month of every year.
        let (year, month, day) = (i32::from(day.year()) + years, day.month(), day.day().min(28));
        rcgen::date_time_ymd(year, month.unsigned_abs(), day.unsigned_abs())
    };
    params.not_before = date(start, 0);
    params.not_after = date(start, years);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn authority_params(name: &str, now: Timestamp) -> CertificateParams {
    let mut params = params(now, AUTHORITY_YEARS);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

/// The key in the file at `path`, made when it is not there.
fn key_in(path: &Path) -> Result<KeyPair, PkiError> {
    let of = |source| PkiError::Key { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(of),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(of)?;
            write_private(path, &key.serialize_pem())?;
            Ok(key)
        }
        Err(source) => Err(PkiError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    let written = files::replace(path, text.as_bytes(), 0o600);
    written.map_err(|source| PkiError::File { path: path.to_owned(), source })
}

fn der_of(pem: &str, path: &Path) -> Result<CertificateDer<'static>, PkiError> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| PkiError::File {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::certificate;

    #[test]
    fn keys_are_made_once_and_clients_are_who_their_certificate_says() {
        let directory = tempfile::tempdir().unwrap();
        let now = "2026-02-28T12:00:00Z".parse().unwrap();
        let first = Pki::open(directory.path(), now).unwrap();
        let again = Pki::open(directory.path(), now).unwrap();
        assert_eq!(first.authority(), again.authority());
        let identity = again.client("kubernetes-admin", &["kubeadm:cluster-admins"]).unwrap();
        let der = der_of(&identity.certificate, Path::new("")).unwrap();
        let user = certificate::user(&der).unwrap();
        assert_eq!(user.name, "kubernetes-admin");
        assert!(user.is_in("kubeadm:cluster-admins"));
        again.server_config(&server_names("cluster.local")).unwrap();
    }

    /// A year after its start the API had a certificate that nobody believed.
    #[test]
    fn a_certificate_is_renewed_before_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-02-28T12:00:00Z".parse().unwrap();
        let pki = Pki::open(directory.path(), start).unwrap();
        let (_, serving) = pki.serving(&server_names("cluster.local")).unwrap();
        let shown = || serving.shown.load().cert[0].clone();
        let first = shown();
        let days = |days: i64| start + SignedDuration::from_hours(24 * days);
        assert!(!pki.renew(&serving, days(200)).unwrap() && shown() == first);
        assert!(pki.renew(&serving, days(300)).unwrap() && shown() != first);
        assert!(!pki.renew(&serving, days(400)).unwrap());
        assert!(pki.renew(&serving, days(600)).unwrap());
    }

    #[test]
    fn other_servers_know_the_api_by_an_authority_that_no_client_has() {
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-02-28T12:00:00Z".parse().unwrap();
        // A data directory of a version that had no such authority.
        let older = Pki::open(directory.path(), now).unwrap();
        fs::remove_file(directory.path().join("front-proxy-ca.key")).unwrap();
        fs::remove_file(directory.path().join("front-proxy-ca.crt")).unwrap();
        let pki = Pki::open(directory.path(), now).unwrap();
        assert_eq!(pki.authority(), older.authority());
        let shown = pki.front_proxy().unwrap().shown.load().cert[0].clone();
        assert_eq!(certificate::user(&shown).unwrap().name, FRONT_PROXY);
        let believed = |authority: &Authority| {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let seconds = std::time::Duration::from_secs(now.as_second().unsigned_abs());
            let now = rustls_pki_types::UnixTime::since_unix_epoch(seconds);
            verifier.build().unwrap().verify_client_cert(&shown, &[], now).is_ok()
        };
        assert!(believed(&pki.front_proxy) && !believed(&pki.authority));
    }

    /// A request as PEM in base64, by another key than it is about where `forged`.
    fn request(change: impl FnOnce(&mut CertificateParams), forged: bool) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "anna");
        params.distinguished_name.push(DnType::OrganizationName, "staff");
        change(&mut params);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut der = params.serialize_request(&key).unwrap().der().to_vec();
        if forged {
            let last = der.len() - 1;
            der[last] ^= 1;
        }
        let pem = certificates::to_pem(&der, certificates::REQUEST);
        base64::engine::Engine::encode(&base64::engine::general_purpose::STANDARD, pem)
    }

    fn usages(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_certificate_says_what_its_request_does_and_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-02-28T12:00:00Z".parse().unwrap();
        let pki = Pki::open(directory.path(), now).unwrap();
        let names = |params: &mut CertificateParams| {
            params.subject_alt_names = vec![
                SanType::DnsName("web.example".try_into().unwrap()),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
            ];
        };
        let (from, to) = (now.as_second() - 300, now.as_second() + 3600);
        let wanted = usages(&["client auth", "server auth", "digital signature"]);
        let pem = pki.certify(&request(names, false), &wanted, from, to).unwrap();
        let der = der_of(&pem, Path::new("")).unwrap();
        let user = certificate::user(&der).unwrap();
        assert_eq!((user.name.as_str(), user.is_in("staff")), ("anna", true));
        let end = certificates::end_of_pem(&pem).unwrap();
        assert_eq!(end.as_second(), to);

        // The verifiers that the API and its clients use believe it.
        let mut roots = RootCertStore::empty();
        roots.add(pki.authority.der.clone()).unwrap();
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let at = |seconds: i64| {
            let since = std::time::Duration::from_secs(seconds.unsigned_abs());
            rustls_pki_types::UnixTime::since_unix_epoch(since)
        };
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let clients = clients.build().unwrap();
        clients.verify_client_cert(&der, &[], at(now.as_second())).unwrap();
        clients.verify_client_cert(&der, &[], at(to + 1)).unwrap_err();
        let servers = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider);
        let servers = servers.build().unwrap();
        for name in ["web.example", "10.0.0.1"] {
            use rustls::client::danger::ServerCertVerifier as _;
            let name = name.try_into().unwrap();
            servers.verify_server_cert(&der, &[], &name, &[], at(now.as_second())).unwrap();
        }
        let again = pki.certify(&request(names, false), &wanted, from, to).unwrap();
        assert_ne!(again, pem, "each has a number of its own");
    }

    #[test]
    fn no_certificate_outlives_its_authority_or_is_for_a_key_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-02-28T12:00:00Z".parse().unwrap();
        let pki = Pki::open(directory.path(), now).unwrap();
        let usages = usages(&["client auth"]);
        let pem = pki.certify(&request(|_| (), false), &usages, 0, i64::MAX).unwrap();
        let authority = Certificate::from_der(&pki.authority.der).unwrap();
        assert_eq!(certificates::end_of_pem(&pem), authority.not_after());
        let forged = pki.certify(&request(|_| (), true), &usages, 0, 1).unwrap_err();
        assert!(matches!(&forged, Refused::Request(why) if why.contains("RFC 2986")), "{forged}");
        let empty = pki.certify("", &usages, 0, 1).unwrap_err();
        assert!(matches!(empty, Refused::Request(_)));
        let cases = ["", "nope", "any"].map(|usage| {
            pki.certify(&request(|_| (), false), &self::usages(&[usage]), 0, 1).is_ok()
        });
        assert_eq!(cases, [false, false, true]);
    }

    #[test]
    fn a_client_is_in_all_groups_that_it_was_made_for() {
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-02-28T12:00:00Z".parse().unwrap();
        let pki = Pki::open(directory.path(), now).unwrap();
        let made = pki.client("anna", &["dev", "ops"]).unwrap();
        let user = certificate::user(&der_of(&made.certificate, Path::new("")).unwrap()).unwrap();
        assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
    }

    #[test]
    fn all_groups_of_a_request_are_groups_of_its_certificate() {
        // As openssl writes two organizations; rcgen writes one.
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-02-28T12:00:00Z".parse().unwrap();
        let pki = Pki::open(directory.path(), now).unwrap();
        use coracle_api::der::{OBJECT_ID, SEQUENCE, SET, element};
        use rcgen::PublicKeyData as _;
        let name = |id: &[u8], text: &str| {
            let pair = element(
                SEQUENCE,
                &[&element(OBJECT_ID, &[id]), &element(0x0c, &[text.as_bytes()])],
            );
            element(SET, &[&pair])
        };
        let (common, group) = ([0x55, 0x04, 0x03], [0x55, 0x04, 0x0a]);
        let subject =
            element(SEQUENCE, &[&name(&common, "bob"), &name(&group, "dev"), &name(&group, "ops")]);
        let key = KeyPair::generate().unwrap();
        let info = element(
            SEQUENCE,
            &[&[2, 1, 0], &subject, &key.subject_public_key_info(), &element(0xa0, &[])],
        );
        let algorithm =
            element(SEQUENCE, &[&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]]);
        let signature = element(3, &[&[0], &key.sign(&info).unwrap()]);
        let pem = certificates::to_pem(
            &element(SEQUENCE, &[&info, &algorithm, &signature]),
            certificates::REQUEST,
        );
        let request =
            base64::engine::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        let pem = pki.certify(&request, &usages(&["client auth"]), 0, now.as_second()).unwrap();
        let user = certificate::user(&der_of(&pem, Path::new("")).unwrap()).unwrap();
        assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
    }
}
