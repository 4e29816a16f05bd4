use super::ALARM_OVERDUE_MS;
use crate::mutants::{self, Mutant};

/// Whether the object will wake up by itself.
///
/// An object has one alarm at a time. The alarm is set before anything is written that must be pushed
/// later. When it fires and work is left, the next alarm is set before anything else is done, or else before
/// it is done with: the platform fires an alarm again that was not. Should an alarm be lost nevertheless, the
/// next request notices that and sets another.
///
/// An object that has just been woken does not know what its last instance set: it reads that, which costs
/// nothing, where setting it anew would cost a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alarm {
    /// When it fires; none where none is set.
    due_ms: Option<u64>,
    /// How long that was ahead when it was set: as late it may be, where the clock has jumped ahead since. The
    /// longest time of one that an instance before this one has set.
    set_for_ms: u64,
    /// Whether that is known.
    is_known: bool,
}

impl Alarm {
    /// Whether it is known when it fires: otherwise it is to be read, and [`Alarm::was_found`].
    pub fn is_known(self) -> bool {
        self.is_known
    }

    /// Notes what was read, unless something has happened to it meanwhile.
    pub fn was_found(&mut self, due_ms: Option<u64>) {
        if !self.is_known {
            self.due_ms = due_ms;
            self.set_for_ms = u64::MAX;
            self.is_known = true;
        }
    }

    /// How far ahead to set the alarm, so that it fires within `delay_ms`; `None` where the alarm that is
    /// set already does. Setting it anew with each request would put it off for as long as requests come.
    ///
    /// One that is wanted within `usual_ms` and was set for later than that is set once more, where it seems to come in
    /// time: it may seem so as the clock jumped ahead, and would come as much later.
    pub fn sets_in_ms(self, now_ms: u64, delay_ms: u64, usual_ms: u64) -> Option<u64> {
        let due_ms = self.due_ms.filter(|due_ms| {
            let is_lost = now_ms > due_ms.saturating_add(ALARM_OVERDUE_MS);
            *due_ms <= now_ms.saturating_add(delay_ms) && !is_lost
        });
        let Some(due_ms) = due_ms else {
            return Some(delay_ms);
        };
        let is_trusted = mutants::active(Mutant::ClockTrusted);
        let is_sure = delay_ms > usual_ms || self.set_for_ms <= usual_ms || is_trusted;
        (!is_sure).then(|| due_ms.saturating_sub(now_ms))
    }

    /// Notes that the alarm is set.
    pub fn was_set(&mut self, now_ms: u64, delay_ms: u64) {
        self.due_ms = Some(now_ms.saturating_add(delay_ms));
        self.set_for_ms = delay_ms;
        self.is_known = true;
    }

    /// Notes that the alarm fired: none is set any more.
    pub fn fired(&mut self) {
        self.due_ms = None;
        self.is_known = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL_MS: u64 = 5_000;

    fn set_at(now_ms: u64, delay_ms: u64) -> Alarm {
        let mut alarm = Alarm::default();
        alarm.was_set(now_ms, delay_ms);
        alarm
    }

    #[test]
    fn it_is_set_once_and_again_when_it_fired_or_was_lost() {
        let in_ms = |alarm: Alarm, now_ms| alarm.sets_in_ms(now_ms, 5_000, USUAL_MS);
        assert_eq!(in_ms(Alarm::default(), 1_000), Some(5_000));
        let mut alarm = set_at(1_000, 5_000);
        assert_eq!(in_ms(alarm, 2_000), None);
        assert_eq!(in_ms(alarm, 6_000 + ALARM_OVERDUE_MS), None);
        assert_eq!(in_ms(alarm, 6_001 + ALARM_OVERDUE_MS), Some(5_000));
        alarm.fired();
        assert_eq!(in_ms(alarm, 6_500), Some(5_000));
    }

    #[test]
    fn it_is_brought_forward_and_never_put_off() {
        let alarm = set_at(1_000, 5_000);
        assert_eq!(alarm.sets_in_ms(1_000, 2_000, USUAL_MS), Some(2_000));
        let alarm = set_at(1_000, 2_000);
        for now_ms in 1_000..=3_000 + ALARM_OVERDUE_MS {
            assert_eq!(alarm.sets_in_ms(now_ms, 2_000, USUAL_MS), None);
        }
    }

    #[test]
    fn what_an_instance_before_has_set_is_not_set_anew() {
        let mut alarm = Alarm::default();
        assert!(!alarm.is_known());
        alarm.was_found(Some(60_000));
        assert_eq!(alarm.sets_in_ms(2_000, u64::MAX, USUAL_MS), None);
        assert_eq!(alarm.sets_in_ms(2_000, 58_000, USUAL_MS), None);
        alarm.fired();
        alarm.was_found(Some(6_000));
        let again = alarm.sets_in_ms(2_000, 5_000, USUAL_MS);
        assert!(again.is_some(), "what was read is old");
    }

    #[test]
    fn one_that_seems_near_as_the_clock_jumped_ahead_is_set_once_more() {
        let jumped_ms = 60_000;
        let alarm = set_at(1_000, 61_000);
        // What is to come then, as ever: each of these would cost a row.
        for now_ms in [1_000, 1_500, 40_000, 56_000] {
            assert_eq!(alarm.sets_in_ms(now_ms, 62_000 - now_ms, USUAL_MS), None);
        }
        let now_ms = 1_500 + jumped_ms;
        assert_eq!(alarm.sets_in_ms(now_ms, 1_000, USUAL_MS), Some(500));
        // It seemed to be over.
        assert_eq!(alarm.sets_in_ms(now_ms + 2_000, 1_000, USUAL_MS), Some(0));
        let alarm = set_at(now_ms, 500);
        assert_eq!(alarm.sets_in_ms(now_ms + 400, 1_000, USUAL_MS), None);
        // As late a busy shard's may be.
        assert_eq!(
            set_at(1_000, 5_000).sets_in_ms(5_500, 1_000, USUAL_MS),
            None
        );
    }
}
