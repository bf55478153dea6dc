//! What the strings in an object mean: names, quantities, addresses, numbers that may be names.

pub mod addresses;
pub mod certificates;
pub mod cron;
pub mod der;
pub mod hex;
pub mod int_or_string;
pub mod names;
pub mod prometheus;
pub mod quantity;
pub mod spans;
pub mod sysctls;
pub mod urls;
