//! What the rules of a schema may cost at most, told when they are written, in upstream's words.

use coracle_api::FieldError;
use serde_json::Value as Json;

use crate::Program;
use crate::estimate::{self, Sized};

/// What one rule may cost on one object, as often as it may run: `StaticEstimatedCostLimit`.
const RULE_LIMIT: u64 = 10_000_000;
/// What all rules of a schema may: `StaticEstimatedCRDCostLimit`.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// Rules that are named when all together cost too much.
const NAMED: usize = 4;

/// What was estimated so far.
#[derive(Default)]
pub(super) struct Estimated {
    total: u64,
    dearest: Vec<(u64, String)>,
    errors: Vec<FieldError>,
}

/// How large what a rule is about may be, and how often there may be it in one object; no limit where
/// nothing says one.
pub(super) struct Extent {
    pub(super) sized: Sized,
    pub(super) often: Option<u64>,
}

/// How many of what is below `schema` there may be in it.
pub(super) fn most_below(schema: &Json) -> Option<u64> {
    let limit = |field: &str| estimate::limit(schema, field).map(i64::unsigned_abs);
    match schema["type"].as_str() {
        Some("object") if !schema["additionalProperties"].is_null() => limit("maxProperties"),
        Some("array") => limit("maxItems"),
        _ => Some(1),
    }
}

impl Estimated {
    /// Counts a rule, which stands at `path`.
    pub(super) fn rule(&mut self, program: &Program, extent: &Extent, path: String) {
        let often = extent.often.unwrap_or_else(|| extent.sized.most_often());
        let cost = estimate::most(program, &extent.sized).saturating_mul(often);
        self.count("estimated rule cost", cost, path);
    }

    /// Counts the expression of a message, which is evaluated once.
    pub(super) fn message(&mut self, program: &Program, extent: &Extent, path: String) {
        let cost = estimate::most(program, &extent.sized);
        self.count("estimated messageExpression cost", cost, path);
    }

    fn count(&mut self, what: &str, cost: u64, path: String) {
        if cost > RULE_LIMIT {
            self.errors.push(FieldError::forbidden(path.clone(), exceeded(what, cost, RULE_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.dearest.push((cost, path));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED);
        }
    }

    /// What costs too much in the schema at `path`.
    pub(super) fn errors(mut self, path: &str) -> Vec<FieldError> {
        if self.total <= SCHEMA_LIMIT {
            return self.errors;
        }
        let why = "contributed to estimated rule cost total exceeding cost limit for entire \
                   OpenAPIv3 schema";
        self.errors
            .extend(self.dearest.into_iter().map(|(_, path)| FieldError::forbidden(path, why)));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        self.errors.push(FieldError::forbidden(path, exceeded(what, self.total, SCHEMA_LIMIT)));
        self.errors
    }
}

fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, \
         maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
