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

/// By which factor the rate here is above the rate there, allowing for chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Allowing for the summaries' bounds too: what is printed.
    pub min: f64,
    /// What it would be at most, were both counts exact.
    pub max: f64,
}

impl Times {
    /// Neither side has had anything to compare.
    pub const NONE: Self = Times { min: 0.0, max: 0.0 };

    /// Whether it is played more here for sure.
    pub fn is_more(self) -> bool {
        self.min > 1.0
    }
}

/// The factor by which the rate here is above the rate there; none where one of them has no
/// exposure.
pub fn times(here: Exposed, there: Exposed) -> Times {
    if here.exposure == 0 || there.exposure == 0 {
        return Times::NONE;
    }
    // The more here and the less there, the larger: the bounds' ends are the factor's ends.
    let factor = |here_count, there_count| {
        let low = low_end(here_count) / here.exposure as f64;
        low / (high_end(there_count) / there.exposure as f64)
    };
    Times {
        min: factor(here.bounds.lower, there.bounds.upper),
        max: factor(here.bounds.upper, there.bounds.lower),
    }
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

    fn rises(here: Exposed, there: Exposed) -> bool {
        times(here, there).is_more()
    }

    #[test]
    fn whatever_the_exact_counts_are_the_factor_is_between_its_ends() {
        let bounds = |lower, upper| Exposed {
            bounds: Bounds { lower, upper },
            exposure: 60,
        };
        let ends = times(bounds(90, 130), bounds(10, 25));
        for here in 90..=130 {
            for there in 10..=25 {
                let between = times(exact(here, 60), exact(there, 60));
                assert_eq!(between.min, between.max);
                assert!(ends.min <= between.min && between.max <= ends.max);
            }
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
        assert!(rises(exact(1_000, 60), exact(500, 60)));
        assert!(!rises(exact(110, 60), exact(100, 60)));
        assert!(
            !rises(exact(30, 60), exact(0, 60)),
            "a few plays of a new post"
        );
        assert!(rises(exact(100, 60), exact(0, 60)));
        let vague = Exposed {
            bounds: Bounds {
                lower: 0,
                upper: 5_000,
            },
            exposure: 60,
        };
        assert!(!rises(exact(1_000, 60), vague));
        assert!(!rises(vague, exact(0, 60)));
        assert!(
            times(exact(1_000, 60), vague).max > 40.0,
            "it may have risen"
        );
    }

    #[test]
    fn rates_are_compared_not_counts() {
        assert!(!rises(exact(1_000, 60_000), exact(500, 30_000)));
        assert!(rises(exact(1_000, 30_000), exact(1_000, 60_000)));
        assert_eq!(times(exact(5, 0), exact(5, 10)), Times::NONE);
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
                assert!(!rises(exact(now, 60), exact(before, 60)), "{now} {before}");
            }
        }
    }
}
