//! What the strings in an object mean: names, quantities, addresses, numbers that may be names.

pub mod addresses;
pub mod cron;
pub mod int_or_string;
pub mod names;
pub mod quantity;
pub mod sysctls;
