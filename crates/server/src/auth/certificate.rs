//! The user that a client certificate names: CN is the name, each O a group.
//!
//! TLS has checked the certificate against our own CA before this reads its subject.

use coracle_api::certificates::{Certificate, CertificateRequest, Client};
use coracle_api::hex;
use sha2::{Digest, Sha256};

use crate::auth::{AUTHENTICATED, CREDENTIAL};
use crate::pipeline::request::User;

/// The user of a DER-encoded certificate; `None` when its subject has no common name.
#[must_use]
pub fn user(der: &[u8]) -> Option<User> {
    let client = Client::of(&Certificate::from_der(der)?.subject)?;
    let text = |value: &[u8]| std::str::from_utf8(value).ok().map(str::to_owned);
    let mut user = User { name: text(client.name?)?, ..User::default() };
    let shown = hex(&Sha256::digest(der));
    user.extra.insert(CREDENTIAL.into(), vec![format!("X509SHA256={shown}")]);
    user.groups = client.groups.into_iter().map(text).collect::<Option<_>>()?;
    user.groups.push(AUTHENTICATED.into());
    (!user.name.is_empty()).then_some(user)
}

/// The groups that a DER-encoded certificate request (RFC 2986) asks for.
#[must_use]
pub fn requested_groups(der: &[u8]) -> Option<Vec<String>> {
    CertificateRequest::from_der(der).map(|request| request.organizations)
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
        let [shown] = &*user.extra[CREDENTIAL] else { panic!("{:?}", user.extra) };
        assert!(shown.starts_with("X509SHA256=") && shown.len() == 75, "{shown}");
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
