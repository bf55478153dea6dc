//! What texts mean: URLs, versions, moments, named formats.

pub(crate) mod format;
pub(crate) mod semver;
pub(crate) mod time;
pub(crate) mod url;
