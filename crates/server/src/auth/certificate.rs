//! The user that a client certificate names: CN is the name, each O a group.
//!
//! TLS has checked the certificate against our own CA before this reads its subject.

use crate::auth::AUTHENTICATED;
use crate::pipeline::request::User;

/// `id-at-commonName` and `id-at-organizationName`.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// The user of a DER-encoded certificate; `None` when its subject has no common name.
#[must_use]
pub fn user(der: &[u8]) -> Option<User> {
    let mut user = User::default();
    for (oid, value) in subject(der)? {
        let text = std::str::from_utf8(value).ok()?.to_owned();
        match oid {
            COMMON_NAME => user.name = text,
            ORGANIZATION => user.groups.push(text),
            _ => {}
        }
    }
    user.groups.push(AUTHENTICATED.into());
    (!user.name.is_empty()).then_some(user)
}

/// The groups that a DER-encoded certificate request (RFC 2986) asks for:
/// `CertificationRequest { CertificationRequestInfo { version, subject … } … }`.
#[must_use]
pub fn requested_groups(der: &[u8]) -> Option<Vec<String>> {
    let request = read(der)?.value;
    let subject = Elements(read(request)?.value).nth(1)?;
    let all = attributes(&subject)?.into_iter().filter(|(oid, _)| *oid == ORGANIZATION);
    Some(all.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect())
}

/// Attribute types and values of the subject:
/// `Certificate { TBSCertificate { [0] version, serial, algorithm, issuer, validity, subject … } … }`.
fn subject(der: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let certificate = read(der)?.value;
    let mut fields = Elements(read(certificate)?.value);
    let first = fields.next()?;
    if first.tag == VERSION {
        fields.next()?;
    }
    attributes(&fields.nth(3)?)
}

fn attributes<'a>(subject: &Element<'a>) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    if subject.tag != SEQUENCE {
        return None;
    }
    let mut attributes = Vec::new();
    for set in Elements(subject.value) {
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

struct Element<'a> {
    tag: u8,
    value: &'a [u8],
    rest: &'a [u8],
}

/// One element of DER: tag, length, value.
fn read(der: &[u8]) -> Option<Element<'_>> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some(Element { tag: *tag, value, rest })
}

/// The elements of a sequence or set.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let element = read(self.0)?;
        self.0 = element.rest;
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_groups_stand_in_the_subject() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        params.distinguished_name.push(rcgen::DnType::CommonName, "kubernetes-admin");
        let certificate = params.self_signed(&key).unwrap();
        let user = user(certificate.der()).unwrap();
        assert_eq!(user.name, "kubernetes-admin");
        assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    }

    #[test]
    fn a_request_names_the_groups_it_asks_for() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "eve");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        let request = params.serialize_request(&key).unwrap();
        assert_eq!(requested_groups(request.der()).unwrap(), ["system:masters"]);
    }

    #[test]
    fn bytes_that_are_no_certificate_name_nobody() {
        for end in 0..64 {
            assert_eq!(user(&vec![0x30; end]), None);
            assert_eq!(requested_groups(&vec![0x30; end]), None);
        }
        assert_eq!(user(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
