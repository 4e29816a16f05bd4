//! How much more often a post is played here and now than there and then, allowing for chance.
//!
//! *Rising* compares a window with the one just before it, *distinctive* a region with everywhere
//! else. Both ask by which factor one rate is above another, and answer with the factor that is
//! certain enough to be printed:
//!
//! ```text
//!            L(lower bound here) / exposure here
//! times  =  ─────────────────────────────────────
//!           U(upper bound there) / exposure there
//! ```
//! The bounds are the summary's, so that what it does not know never makes a post rise. `L` and
//! `U` allow for chance: they are the ends of the score interval of a Poisson mean,
//! `n + z²/2 ∓ z·√(n + z²/4)` (Barker 2002, *A comparison of nine confidence intervals for a
//! Poisson parameter*), at z = [`Z`]. A post is listed only if `times` is above 1: then even the
//! low end here is above the high end there. In stationary noise that happens once in 10⁸
//! comparisons (two ends of z = 4 together are √2 · 4 = 5.7 standard deviations).
//!
//! The exposure is the time that has passed in a window (a window that ends now has an unfinished
//! last minute), or all plays of a scope.

use crate::summary::Bounds;

/// Standard deviations of chance that each end allows for.
pub const Z: f64 = 4.0;

/// What a count is a count of.
#[derive(Clone, Copy, Debug)]
pub struct Exposed {
    pub bounds: Bounds,
    /// Milliseconds, or plays: of the same kind on both sides.
    pub exposure: u64,
}

/// The factor by which the rate here is above the rate there; `None` where it is not, or where
/// one of them has no exposure.
pub fn times(here: Exposed, there: Exposed) -> Option<f64> {
    if here.exposure == 0 || there.exposure == 0 {
        return None;
    }
    let low = low_end(here.bounds.lower) / here.exposure as f64;
    let high = high_end(there.bounds.upper) / there.exposure as f64;
    let times = low / high;
    (times > 1.0).then_some(times)
}

fn low_end(count: u64) -> f64 {
    let count = count as f64;
    (count + Z * Z / 2.0 - Z * (count + Z * Z / 4.0).sqrt()).max(0.0)
}

fn high_end(count: u64) -> f64 {
    let count = count as f64;
    count + Z * Z / 2.0 + Z * (count + Z * Z / 4.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(count: u64, exposure: u64) -> Exposed {
        Exposed {
            bounds: Bounds {
                lower: count,
                upper: count,
            },
            exposure,
        }
    }

    #[test]
    fn the_interval_holds_its_count_and_begins_at_nothing() {
        assert_eq!(low_end(0), 0.0);
        assert_eq!(high_end(0), Z * Z);
        for count in [1, 10, 1_000, 1_000_000] {
            assert!(low_end(count) < count as f64 && count as f64 <= high_end(count));
        }
    }

    #[test]
    fn a_post_rises_only_by_more_than_chance_and_bounds_explain() {
        assert!(times(exact(1_000, 60), exact(500, 60)).is_some());
        assert_eq!(times(exact(110, 60), exact(100, 60)), None);
        assert_eq!(
            times(exact(30, 60), exact(0, 60)),
            None,
            "a few plays of a new post"
        );
        assert!(times(exact(100, 60), exact(0, 60)).is_some());
        let vague = Exposed {
            bounds: Bounds {
                lower: 0,
                upper: 5_000,
            },
            exposure: 60,
        };
        assert_eq!(times(exact(1_000, 60), vague), None);
        assert_eq!(times(vague, exact(0, 60)), None);
    }

    #[test]
    fn rates_are_compared_not_counts() {
        assert_eq!(times(exact(1_000, 60_000), exact(500, 30_000)), None);
        assert!(times(exact(1_000, 30_000), exact(1_000, 60_000)).is_some());
        assert_eq!(times(exact(5, 0), exact(5, 10)), None);
    }

    #[test]
    fn nothing_rises_in_stationary_noise() {
        // 1,000 seeds of 200 posts whose plays are Poisson with the same mean in both windows.
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut poisson = |mean: f64| {
            let (limit, mut product, mut count) = ((-mean).exp(), 1.0, 0);
            loop {
                product *= uniform();
                if product <= limit {
                    return count;
                }
                count += 1;
            }
        };
        for _ in 0..1_000 {
            for post in 1..=200 {
                let mean = 600.0 / f64::from(post);
                let (now, before) = (poisson(mean), poisson(mean));
                assert_eq!(
                    times(exact(now, 60), exact(before, 60)),
                    None,
                    "{now} {before}"
                );
            }
        }
    }
}
