//! From values to places, with ticks that people like.

/// Values as large as this are drawn as this: nobody measures more, and a hostile file may say anything.
const MOST: f64 = 1e15;
/// Values as small as this are drawn as this on a logarithmic scale.
const LEAST: f64 = 1e-6;

/// The least and the largest of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    /// The least.
    pub(crate) low: f64,
    /// The largest.
    pub(crate) high: f64,
}

impl Range {
    /// Of the values that are positive numbers; none if there are none.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let usable = values.filter(|value| value.is_finite() && *value > 0.0);
        usable.map(|value| value.clamp(LEAST, MOST)).fold(None, |range, value| {
            let Range { low, high } = range.unwrap_or(Range { low: value, high: value });
            Some(Range { low: low.min(value), high: high.max(value) })
        })
    }

    /// How many times the least the largest is.
    pub(crate) fn ratio(self) -> f64 {
        self.high / self.low
    }
}

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    logarithmic: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// From zero to a round number that is at least `most`.
    pub(crate) fn linear(most: f64, from: f64, to: f64) -> Self {
        let most = if most.is_finite() { most.clamp(LEAST, MOST) } else { 1.0 };
        let step = step(most);
        // What fits to within a millionth of a step fits.
        let high = ((most / step - 1e-6).ceil() * step).max(step);
        Self { logarithmic: false, low: 0.0, high, from, to }
    }

    /// Equal ratios at equal distances, from and to a 1, 2 or 5 of some decade.
    pub(crate) fn logarithmic(range: Range, from: f64, to: f64) -> Self {
        let (low, high) = (round_down(range.low.clamp(LEAST, MOST)), round_up(range.high.clamp(LEAST, MOST)));
        let high = if high > low * 1.5 { high } else { round_up(low * 1.5) };
        Self { logarithmic: true, low, high, from, to }
    }

    /// Exactly from `low` to `high`, without rounding to ticks.
    pub(crate) fn exact(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = (finite(low), finite(high));
        let high = if high > low { high } else { low + 1.0 };
        Self { logarithmic: false, low, high, from, to }
    }

    /// Where a value is; values beyond the ends are at the ends.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let value = if value.is_nan() { self.low } else { value.clamp(self.low, self.high) };
        let share = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Values to name, ascending, about `about` of them and never more than twenty.
    pub(crate) fn ticks(&self, about: usize) -> Vec<f64> {
        if !self.logarithmic {
            let step = step((self.high - self.low) * 5.0 / about.clamp(2, 10) as f64);
            let first = (self.low / step - 1e-6).ceil();
            let ticks = (0..20).map(|at| (first + f64::from(at)) * step);
            return ticks.take_while(|tick| *tick <= self.high + step * 1e-6).collect();
        }
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let decades = (last - first).max(1) as usize;
        let parts: &[f64] = if decades <= about.saturating_sub(2).max(1) { &[1.0, 2.0, 5.0] } else { &[1.0] };
        // Of very many decades, every second or third.
        let stride = decades.div_ceil(12).max(1);
        let all = (first..=last).step_by(stride).flat_map(|decade| {
            let base = 10f64.powi(decade);
            parts.iter().map(move |part| part * base)
        });
        all.filter(|tick| *tick >= self.low * 0.999 && *tick <= self.high * 1.001).take(20).collect()
    }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value.clamp(-MOST, MOST) } else { 0.0 }
}

/// A 1, 2 or 5 of some decade that divides `most` into four to ten parts.
fn step(most: f64) -> f64 {
    let rough = most / 5.0;
    let base = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|part| part * base)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(base)
}

fn round_down(value: f64) -> f64 {
    let base = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|part| part * base).find(|tick| *tick <= value * 1.001).unwrap_or(base)
}

fn round_up(value: f64) -> f64 {
    let base = 10f64.powf(value.log10().floor());
    let ticks = [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * base);
    ticks.into_iter().find(|tick| *tick >= value * 0.999).unwrap_or(base * 10.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_both_ends() {
        assert_eq!(Scale::linear(46_200.0, 0.0, 1.0).ticks(5), [0.0, 1e4, 2e4, 3e4, 4e4, 5e4]);
        assert_eq!(Scale::linear(0.7, 0.0, 1.0).ticks(5).last().copied(), Some(0.8));
        let range = Range { low: 3.0, high: 700.0 };
        assert_eq!(
            Scale::logarithmic(range, 0.0, 1.0).ticks(6),
            [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        );
        let wide = Range { low: 3.0, high: 7e6 };
        assert_eq!(Scale::logarithmic(wide, 0.0, 1.0).ticks(4).len(), 7);
        let near = Scale::logarithmic(Range { low: 30.0, high: 31.0 }, 0.0, 1.0).ticks(4);
        assert!(near.len() >= 2, "{near:?}");
    }

    #[test]
    fn no_value_leaves_the_paper() {
        let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e-300, 1e300, f64::MAX, 5.0];
        let mut scales = vec![];
        for most in strange {
            scales.push(Scale::linear(most, 10.0, 90.0));
            scales.push(Scale::exact(most, 7.0, 10.0, 90.0));
            scales.push(Scale::exact(7.0, most, 10.0, 90.0));
            if let Some(range) = Range::of([most, 3.0].into_iter()) {
                scales.push(Scale::logarithmic(range, 10.0, 90.0));
            }
        }
        for scale in scales {
            for value in strange {
                let place = scale.at(value);
                assert!((10.0..=90.0).contains(&place), "{scale:?} puts {value} at {place}");
            }
            let ticks = scale.ticks(5);
            assert!(ticks.len() <= 20 && ticks.iter().all(|tick| tick.is_finite()), "{scale:?}: {ticks:?}");
        }
        assert_eq!(Range::of([f64::NAN, -1.0, 0.0].into_iter()), None);
        assert!((Range::of([2.0, 8.0].into_iter()).unwrap().ratio() - 4.0).abs() < 1e-9);
    }
}
