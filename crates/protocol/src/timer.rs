//! How long a replica waits. The timeout is a function of the view number, so that correct replicas agree on it.

use crate::mutant::{self, Mutant};
use crate::parameters::Parameters;
use crate::types::View;

/// `T0 * 2^(view - good)`, at most the cap, where `good` is the newest view that worked; in microseconds.
#[must_use]
pub(crate) fn timeout(parameters: &Parameters, view: View, good: View) -> u64 {
    let good = if mutant::is(Mutant::M17) { view } else { good };
    let doublings = u32::try_from(view.0.saturating_sub(good.0)).unwrap_or(u32::MAX);
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    parameters.timeout_us.saturating_mul(factor).min(parameters.timeout_max_us)
}
