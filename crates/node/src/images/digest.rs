//! Digests: what content is known by, and whether it is that content.

use std::io::Read;

use coracle_api::hex;
use sha2::{Digest, Sha256};

use super::ImageError;

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

pub(crate) fn verify(what: &str, expected: &str, bytes: &[u8]) -> Result<(), ImageError> {
    same(what, expected, digest_of(bytes))
}

pub(crate) fn verify_stream(
    number: usize,
    expected: &str,
    mut reader: impl Read,
) -> Result<(), ImageError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).map_err(ImageError::Read)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let found = format!("sha256:{}", hex(&hasher.finalize()));
    same(&format!("layer {}", number + 1), expected, found)
}

pub(crate) fn same(what: &str, expected: &str, found: String) -> Result<(), ImageError> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::Digest { what: what.to_owned(), expected: expected.to_owned(), found })
}
