//! Expressions about requests: conditions of webhooks, and admission policies.

mod budget;
pub mod conditions;
mod environment;
mod json;
mod mistakes;
mod mutating;
mod subject;
mod validating;

#[cfg(test)]
mod tests;

pub(crate) use environment::user_info;
pub use environment::{Policy, typed};
pub use mistakes::{mutating as mutating_mistakes, validating as validating_mistakes};
pub use mutating::{Mutating, Patch};
pub use subject::Subject;
pub use validating::{Annotation, Judgement, Refusal, Validating};
