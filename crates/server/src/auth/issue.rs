//! Certificates for what is asked in a request: written here, since subject, key and names are taken
//! over from the request byte by byte, as upstream's signer does.
//!
//! RFC 5280 says how a certificate is written, RFC 2986 how a request is.

use coracle_api::Timestamp;
use coracle_api::certificates::{
    ALTERNATIVE_NAMES, AlternativeName, COMMON_NAME, Certificate, CertificateRequest, ORGANIZATION,
};
use coracle_api::der::{
    self, BIT_STRING, BOOLEAN, GENERALIZED_TIME, INTEGER, OBJECT_ID, OCTET_STRING, SEQUENCE, SET,
    UTC_TIME, element,
};
use rustls::crypto::ring::default_provider;

/// `id-ce-subjectKeyIdentifier`, `id-ce-keyUsage`, `id-ce-basicConstraints`,
/// `id-ce-authorityKeyIdentifier` and `id-ce-extKeyUsage`.
const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

const UTF8_STRING: u8 = 0x0c;

/// Version 3, as extensions need: `[0] INTEGER 2`.
const VERSION_3: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];
/// The first second that `UTCTime` cannot say: 2050-01-01T00:00:00Z (RFC 5280, section 4.1.2.5).
const UTC_TIME_END: i64 = 2_524_608_000;

/// Bits of the key usage (RFC 5280, section 4.2.1.3).
const USAGES: [(&str, u8); 10] = [
    ("digital signature", 0),
    ("signing", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// `id-kp`, and what is behind it for the purposes of section 4.2.1.12.
const PURPOSE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];
const PURPOSES: [(&str, u8); 10] = [
    ("server auth", 1),
    ("client auth", 2),
    ("code signing", 3),
    ("email protection", 4),
    ("s/mime", 4),
    ("ipsec end system", 5),
    ("ipsec tunnel", 6),
    ("ipsec user", 7),
    ("timestamping", 8),
    ("ocsp signing", 9),
];
/// Those that are elsewhere: `anyExtendedKeyUsage`, and two of long ago.
const OTHER_PURPOSES: [(&str, &[u8]); 3] = [
    ("any", &[0x55, 0x1d, 0x25, 0x00]),
    ("microsoft sgc", &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x0a, 0x03, 0x03]),
    ("netscape sgc", &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x04, 0x01]),
];

/// Whom a certificate is about.
pub(super) struct Requested<'a> {
    /// `Name`, in DER.
    pub subject: &'a [u8],
    /// `SubjectPublicKeyInfo`, in DER.
    pub key: &'a [u8],
    /// Other names of the subject.
    pub names: &'a [AlternativeName],
}

/// What a certificate is to say.
pub(super) struct Order<'a> {
    pub requested: &'a Requested<'a>,
    pub usages: &'a [String],
    /// In seconds since 1970; the end is not behind the authority's.
    pub not_before: i64,
    pub not_after: i64,
    /// Random bytes: no two certificates have the same number.
    pub serial: [u8; 16],
}

/// Whether the request is signed with the key that it is about: nobody asks for a certificate of
/// another's key (RFC 2986, section 4.2).
pub(super) fn proves_possession(request: &CertificateRequest) -> bool {
    let Some(key) = der::read(&request.key) else { return false };
    let mut parts = der::Elements(key.value);
    let (Some(of_key), Some(bits)) = (parts.next(), parts.next()) else { return false };
    let Some(key) = der::octets(&bits) else { return false };
    let Some(algorithm) = der::read(&request.algorithm) else { return false };
    let provider = default_provider();
    provider.signature_verification_algorithms.all.iter().any(|known| {
        known.public_key_alg_id().as_ref() == of_key.value
            && known.signature_alg_id().as_ref() == algorithm.value
            && known.verify_signature(&key, &request.signed, &request.signature).is_ok()
    })
}

/// The `Name` of a client as upstream reads it: its common name is the user, each of its organizations a
/// group.
pub(super) fn subject(name: &str, groups: &[&str]) -> Vec<u8> {
    let attribute = |kind: &[u8], text: &str| {
        let parts = [element(OBJECT_ID, &[kind]), element(UTF8_STRING, &[text.as_bytes()])];
        element(SET, &[&element(SEQUENCE, &[&parts.concat()])])
    };
    let groups = groups.iter().map(|group| attribute(ORGANIZATION, group));
    let all: Vec<Vec<u8>> = groups.chain([attribute(COMMON_NAME, name)]).collect();
    element(SEQUENCE, &[&all.concat()])
}

/// What is signed of a certificate, `TBSCertificate`, by the authority with this certificate.
///
/// # Errors
/// The usages that are unknown.
pub(super) fn to_be_signed(
    order: &Order<'_>,
    authority: &Certificate<'_>,
) -> Result<Vec<u8>, String> {
    let mut serial = order.serial;
    // A positive number, and not zero (section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let validity = [time(order.not_before), time(order.not_after)];
    let extensions = element(SEQUENCE, &[&extensions(order, authority)?.concat()]);
    let parts: [&[u8]; 8] = [
        VERSION_3,
        &element(INTEGER, &[&serial]),
        authority.algorithm.whole,
        authority.subject.whole,
        &element(SEQUENCE, &[&validity[0], &validity[1]]),
        order.requested.subject,
        order.requested.key,
        &element(0xa3, &[&extensions]),
    ];
    Ok(element(SEQUENCE, &parts))
}

/// The certificate: what is signed, how, and the signature.
pub(super) fn signed(
    to_be_signed: &[u8],
    authority: &Certificate<'_>,
    signature: &[u8],
) -> Vec<u8> {
    let signature = element(BIT_STRING, &[&[0], signature]);
    element(SEQUENCE, &[to_be_signed, authority.algorithm.whole, &signature])
}

fn extensions(order: &Order<'_>, authority: &Certificate<'_>) -> Result<Vec<Vec<u8>>, String> {
    let (bits, purposes) = usages(order.usages)?;
    let mut all = Vec::new();
    if !bits.is_empty() {
        all.push(extension(KEY_USAGE, true, &key_usage(&bits)));
    }
    if !purposes.is_empty() {
        let purposes: Vec<Vec<u8>> =
            purposes.iter().map(|purpose| element(OBJECT_ID, &[purpose])).collect();
        all.push(extension(EXTENDED_KEY_USAGE, false, &element(SEQUENCE, &[&purposes.concat()])));
    }
    // Never an authority itself, whatever was asked.
    all.push(extension(BASIC_CONSTRAINTS, true, &element(SEQUENCE, &[])));
    let key = authority.extension(SUBJECT_KEY).and_then(|it| der::read_as(OCTET_STRING, it));
    if let Some(key) = key {
        let identifier = element(SEQUENCE, &[&element(0x80, &[key.value])]);
        all.push(extension(AUTHORITY_KEY, false, &identifier));
    }
    let names: Vec<&[u8]> = order.requested.names.iter().map(|name| &*name.der).collect();
    if !names.is_empty() {
        // Critical where there is no other name (section 4.2.1.6).
        let is_nameless = der::read(order.requested.subject).is_none_or(|it| it.value.is_empty());
        all.push(extension(ALTERNATIVE_NAMES, is_nameless, &element(SEQUENCE, &names)));
    }
    Ok(all)
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { element(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    let parts: [&[u8]; 3] =
        [&element(OBJECT_ID, &[id]), &critical, &element(OCTET_STRING, &[value])];
    element(SEQUENCE, &parts)
}

/// Bits of the key usage, and identifiers of the purposes, each once.
fn usages(names: &[String]) -> Result<(Vec<u8>, Vec<Vec<u8>>), String> {
    let (mut bits, mut purposes, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let bit = USAGES.iter().find(|(known, _)| known == name);
        let purpose = PURPOSES.iter().find(|(known, _)| known == name);
        let other = OTHER_PURPOSES.iter().find(|(known, _)| known == name);
        match (bit, purpose, other) {
            (Some((_, bit)), ..) => bits.push(*bit),
            (_, Some((_, last)), _) => purposes.push([PURPOSE, &[*last]].concat()),
            (.., Some((_, id))) => purposes.push(id.to_vec()),
            _ => unknown.push(name.as_str()),
        }
    }
    if !unknown.is_empty() {
        return Err(format!("unrecognized usage values: {unknown:?}"));
    }
    purposes.sort_unstable();
    purposes.dedup();
    bits.sort_unstable();
    bits.dedup();
    Ok((bits, purposes))
}

/// `BIT STRING` whose first bit is the highest, without zeros at its end.
fn key_usage(bits: &[u8]) -> Vec<u8> {
    let last = bits.iter().copied().max().unwrap_or(0);
    let mut octets = vec![0_u8; if last > 7 { 2 } else { 1 }];
    for bit in bits {
        if let Some(octet) = octets.get_mut(usize::from(bit / 8)) {
            *octet |= 0x80 >> (bit % 8);
        }
    }
    let unused = 7_u8.saturating_sub(last % 8);
    element(BIT_STRING, &[&[unused], &octets])
}

fn time(seconds: i64) -> Vec<u8> {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let (tag, text) = match seconds < UTC_TIME_END {
        true => (UTC_TIME, at.strftime("%y%m%d%H%M%SZ").to_string()),
        false => (GENERALIZED_TIME, at.strftime("%Y%m%d%H%M%SZ").to_string()),
    };
    element(tag, &[text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_are_bits_and_purposes() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            usages(&names)
        };
        let (bits, purposes) =
            of(&["key encipherment", "client auth", "digital signature", "signing"]).unwrap();
        // As openssl writes them: 5 bits of an octet unused.
        assert_eq!(key_usage(&bits), [0x03, 0x02, 0x05, 0xa0]);
        assert_eq!(purposes, [[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]]);
        assert_eq!(key_usage(&[8]), [0x03, 0x03, 0x07, 0x00, 0x80]);
        assert_eq!(of(&["nope"]).unwrap_err(), "unrecognized usage values: [\"nope\"]");
    }

    #[test]
    fn times_after_2049_have_four_digits() {
        assert_eq!(time(0), element(UTC_TIME, &[b"700101000000Z"]));
        assert_eq!(time(UTC_TIME_END), element(GENERALIZED_TIME, &[b"20500101000000Z"]));
    }
}
