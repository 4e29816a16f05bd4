/// Requests in this second and in the one before: what tells a busy shard from an idle one.
#[derive(Clone, Copy, Default)]
pub struct Arrivals {
    second: u64,
    now: u32,
    before: u32,
}

impl Arrivals {
    pub fn add(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        if second != self.second {
            self.before = if second == self.second + 1 {
                self.now
            } else {
                0
            };
            self.now = 0;
            self.second = second;
        }
        self.now += 1;
    }

    /// Whether there were so many in a second.
    pub fn reach(&self, in_a_second: u32) -> bool {
        self.now.max(self.before) >= in_a_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_busy_for_the_second_after_a_busy_one_and_no_longer() {
        let mut arrivals = Arrivals::default();
        (0..3).for_each(|number| arrivals.add(10_000 + 100 * number));
        assert!(arrivals.reach(3) && !arrivals.reach(4));
        arrivals.add(11_900);
        assert!(arrivals.reach(3));
        arrivals.add(12_000);
        assert!(!arrivals.reach(3));
        (0..3).for_each(|number| arrivals.add(20_000 + number));
        arrivals.add(22_000);
        assert!(!arrivals.reach(2), "a second without any lies between");
    }
}
