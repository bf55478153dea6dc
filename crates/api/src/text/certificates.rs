//! Certificate requests (RFC 2986) and certificates (RFC 5280), as far as those read them who decide
//! about them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::TimeZone;

use super::der::{
    self, Element, Elements, GENERALIZED_TIME, OBJECT_ID, OCTET_STRING, SEQUENCE, SET, UTC_TIME,
};

/// How PEM calls a request.
pub const REQUEST: &str = "CERTIFICATE REQUEST";
/// How PEM calls a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";

/// `id-at-commonName`
pub const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `id-at-organizationName`
pub const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
/// `id-ce-subjectAltName`
pub const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// `pkcs-9-at-extensionRequest`
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// Where the version stands, and in a request the attributes.
const CONTEXT_0: u8 = 0xa0;
/// Where the extensions of a certificate stand.
const CONTEXT_3: u8 = 0xa3;

/// What a request asks a certificate for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The name of the subject, in DER.
    pub subject: Vec<u8>,
    /// Its common name: who a client is.
    pub common_name: String,
    /// Its organizations: the groups of a client.
    pub organizations: Vec<String>,
    /// `SubjectPublicKeyInfo`, in DER.
    pub key: Vec<u8>,
    /// Other names of the subject.
    pub names: Vec<AlternativeName>,
    /// What is signed, in DER.
    pub signed: Vec<u8>,
    /// With which algorithm: `AlgorithmIdentifier`, in DER.
    pub algorithm: Vec<u8>,
    /// The signature, with the key that it is about.
    pub signature: Vec<u8>,
}

/// What an alternative name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// `rfc822Name`
    Email,
    /// `dNSName`
    Dns,
    /// `uniformResourceIdentifier`
    Uri,
    /// `iPAddress`
    Ip,
}

/// A name of a subject beside its own; see RFC 5280, section 4.2.1.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlternativeName {
    /// What it is.
    pub kind: NameKind,
    /// `GeneralName`, in DER.
    pub der: Vec<u8>,
}

impl CertificateRequest {
    /// The request in a text in PEM; `None` when there is none.
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Self> {
        Self::from_der(&pem_block(text, REQUEST)?)
    }

    /// The request in `spec.request`: PEM in base64.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let pem = STANDARD.decode(text).ok()?;
        Self::from_pem(std::str::from_utf8(&pem).ok()?)
    }

    /// `CertificationRequest { CertificationRequestInfo { version, subject, key, [0] attributes },
    /// algorithm, signature }`
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let request = der::read_as(SEQUENCE, der).filter(|request| request.rest.is_empty())?;
        let mut parts = Elements(request.value);
        let (signed, algorithm, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let mut fields = Elements(signed.value).skip(1);
        let (subject, key) = (fields.next()?, fields.next()?);
        let client = Client::of(&subject)?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        if [signed.tag, algorithm.tag, key.tag] != [SEQUENCE; 3] {
            return None;
        }
        let attributes = fields.next().filter(|it| it.tag == CONTEXT_0);
        Some(Self {
            subject: subject.whole.to_vec(),
            common_name: client.name.map(text).unwrap_or_default(),
            organizations: client.groups.into_iter().map(text).collect(),
            key: key.whole.to_vec(),
            names: attributes.map_or_else(Vec::new, |it| requested_names(&it)),
            signed: signed.whole.to_vec(),
            algorithm: algorithm.whole.to_vec(),
            signature: der::octets(&signature)?,
        })
    }

    /// Whether one of its other names is of this kind.
    #[must_use]
    pub fn has_name(&self, kind: NameKind) -> bool {
        self.names.iter().any(|name| name.kind == kind)
    }
}

/// Attribute types and values of a name: `SEQUENCE OF SET OF SEQUENCE { type, value }`.
fn name_attributes<'a>(name: &Element<'a>) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    if name.tag != SEQUENCE {
        return None;
    }
    let mut attributes = Vec::new();
    for set in Elements(name.value) {
        for attribute in Elements(set.value) {
            let mut pair = Elements(attribute.value);
            let (oid, value) = (pair.next()?, pair.next()?);
            if oid.tag == OBJECT_ID {
                attributes.push((oid.value, value.value));
            }
        }
    }
    Some(attributes)
}

/// Whom a name is of, as a client of the API.
#[derive(Clone, Debug, Default)]
pub struct Client<'a> {
    /// Its common name.
    pub name: Option<&'a [u8]>,
    /// Its organizations.
    pub groups: Vec<&'a [u8]>,
}

impl<'a> Client<'a> {
    /// Whom `name` is of; of several common names the last one counts.
    #[must_use]
    pub fn of(name: &Element<'a>) -> Option<Self> {
        let mut client = Self::default();
        for (oid, value) in name_attributes(name)? {
            match oid {
                COMMON_NAME => client.name = Some(value),
                ORGANIZATION => client.groups.push(value),
                _ => {}
            }
        }
        Some(client)
    }
}

/// The names in the extensions that the attributes of a request ask for.
fn requested_names(attributes: &Element<'_>) -> Vec<AlternativeName> {
    let extensions = Elements(attributes.value).filter_map(|attribute| {
        let mut parts = Elements(attribute.value);
        let is_wanted = parts.next()?.value == EXTENSION_REQUEST;
        let values = parts.next().filter(|values| is_wanted && values.tag == SET)?;
        der::read_as(SEQUENCE, values.value)
    });
    let found = extensions.filter_map(|all| extension(&all, ALTERNATIVE_NAMES));
    let names = found.filter_map(|value| der::read_as(SEQUENCE, value));
    names.flat_map(|names| Elements(names.value)).filter_map(|name| alternative(&name)).collect()
}

fn alternative(name: &Element<'_>) -> Option<AlternativeName> {
    let kind = match name.tag {
        0x81 => NameKind::Email,
        0x82 => NameKind::Dns,
        0x86 => NameKind::Uri,
        0x87 => NameKind::Ip,
        _ => return None,
    };
    Some(AlternativeName { kind, der: name.whole.to_vec() })
}

/// What is in the extension with this identifier: `SEQUENCE OF SEQUENCE { id, critical, value }`.
fn extension<'a>(all: &Element<'a>, wanted: &[u8]) -> Option<&'a [u8]> {
    let mut found = Elements(all.value).filter_map(|extension| {
        let mut parts = Elements(extension.value);
        let id = parts.next()?;
        let value = parts.find(|part| part.tag == OCTET_STRING)?;
        (id.value == wanted).then_some(value.value)
    });
    found.next()
}

/// What is read of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The name of the subject.
    pub subject: Element<'a>,
    /// How it is signed: `AlgorithmIdentifier`.
    pub algorithm: Element<'a>,
    /// `SEQUENCE { notBefore, notAfter }`
    validity: Element<'a>,
    extensions: Option<Element<'a>>,
}

impl<'a> Certificate<'a> {
    /// `Certificate { TBSCertificate { [0] version, serial, algorithm, issuer, validity, subject, key,
    /// … [3] extensions }, algorithm, signature }`
    #[must_use]
    pub fn from_der(der: &'a [u8]) -> Option<Self> {
        let mut parts = Elements(der::read(der)?.value);
        let (signed, algorithm) = (parts.next()?, parts.next()?);
        let mut fields = Elements(signed.value);
        let first = fields.next()?;
        if first.tag == CONTEXT_0 {
            fields.next()?;
        }
        let mut fields = fields.skip(2);
        let (validity, subject) = (fields.next()?, fields.next()?);
        let extensions = fields.find(|field| field.tag == CONTEXT_3);
        let extensions = extensions.and_then(|field| der::read_as(SEQUENCE, field.value));
        Some(Self { subject, algorithm, validity, extensions })
    }

    /// When it is over.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        time(&Elements(self.validity.value).nth(1)?)
    }

    /// What is in an extension.
    #[must_use]
    pub fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        extension(self.extensions.as_ref()?, wanted)
    }
}

/// `YYMMDDHHMMSSZ`, of the years 1950 to 2049, or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5).
fn time(element: &Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(element.value).ok()?.strip_suffix('Z')?;
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { year.checked_add(2000)? } else { year.checked_add(1900)? }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at.checked_add(2)?)?.parse::<i8>().ok();
    let [month, day, hour, minute, second] = [part(0)?, part(2)?, part(4)?, part(6)?, part(8)?];
    let is_date = (1..=9999).contains(&year) && (1..=12).contains(&month) && rest.len() == 10;
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    if !is_date || !is_time || !(1..=date(year, month, 1).days_in_month()).contains(&day) {
        return None;
    }
    let at = date(year, month, day).at(hour, minute, second, 0);
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// When the first certificate of a text in PEM is over.
#[must_use]
pub fn end_of_pem(text: &str) -> Option<Timestamp> {
    Certificate::from_der(&pem_block(text, CERTIFICATE)?)?.not_after()
}

/// What is in the first block of PEM (RFC 7468) with this label.
#[must_use]
pub fn pem_block(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// What is in all blocks of PEM with this label.
#[must_use]
pub fn pem_blocks(text: &str, label: &str) -> Vec<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let blocks = text.split(&begin).skip(1);
    blocks.filter_map(|block| pem_block(&format!("{begin}{block}"), label)).collect()
}

/// `der` in PEM.
#[must_use]
pub fn to_pem(der: &[u8], label: &str) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .filter_map(|at| body.get(at..).map(|rest| rest.get(..64).unwrap_or(rest)))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tag: u8, text: &str) -> Option<String> {
        time(&der::read(&der::element(tag, &[text.as_bytes()])).unwrap()).map(|it| it.to_string())
    }

    #[test]
    fn times_of_both_kinds_are_read_and_nonsense_is_none() {
        assert_eq!(at(UTC_TIME, "260228120000Z").unwrap(), "2026-02-28T12:00:00Z");
        assert_eq!(at(UTC_TIME, "500101000000Z").unwrap(), "1950-01-01T00:00:00Z");
        assert_eq!(at(GENERALIZED_TIME, "20500101000000Z").unwrap(), "2050-01-01T00:00:00Z");
        for nonsense in [
            "",
            "Z",
            "260230120000Z",
            "261301000000Z",
            "2602281200Z",
            "260228250000Z",
            "26022812000é",
        ] {
            assert_eq!(at(UTC_TIME, nonsense), None, "{nonsense}");
        }
        assert_eq!(at(GENERALIZED_TIME, "00000101000000Z"), None);
    }

    #[test]
    fn pem_is_what_stands_between_its_lines() {
        let der = vec![5; 100];
        let pem = to_pem(&der, CERTIFICATE);
        assert!(pem.lines().all(|line| line.len() <= 64));
        assert_eq!(pem_block(&pem, CERTIFICATE).unwrap(), der);
        assert_eq!(pem_block(&format!("words\n{pem}{pem}"), CERTIFICATE).unwrap(), der);
        assert_eq!(pem_block(&pem, REQUEST), None);
        assert_eq!(
            pem_block("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", CERTIFICATE),
            None
        );
    }

    #[test]
    fn bytes_that_are_no_request_ask_for_nothing() {
        for end in 0..64 {
            assert_eq!(CertificateRequest::from_der(&vec![SEQUENCE; end]), None);
            assert!(Certificate::from_der(&vec![SEQUENCE; end]).is_none());
        }
    }
}
