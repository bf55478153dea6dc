//! Numbers as upstream's floats have them: a target must not change because ours round otherwise.

/// A number of pods, percent or thousandths.
#[expect(clippy::cast_precision_loss, reason = "no number of pods or bytes needs the last bits")]
pub(super) fn as_float(number: i64) -> f64 {
    number as f64
}

/// A float without a fraction: 0 for what is none, at most what a number of replicas can be.
#[expect(clippy::cast_possible_truncation, reason = "what is too large becomes the largest")]
pub(super) fn whole(float: f64) -> i64 {
    (float as i64).clamp(i64::from(i32::MIN), i64::from(i32::MAX))
}
