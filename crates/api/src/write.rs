//! What happens to an object when it is written: fields that are filled in, patches, ownership of
//! fields, errors, and what a quota counts.

pub mod defaults;
pub mod field;
pub mod managed_fields;
pub mod patch;
pub mod quota;
pub mod unserved;
pub mod validation;
pub mod warnings;
