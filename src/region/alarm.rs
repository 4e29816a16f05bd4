use super::ALARM_OVERDUE_MS;

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
            self.is_known = true;
        }
    }

    /// The time to set the alarm to, so that it fires within `delay_ms`; `None` where the alarm that is
    /// set already does. Setting it anew with each request would put it off for as long as requests come.
    pub fn sets_to(self, now_ms: u64, delay_ms: u64) -> Option<u64> {
        let latest_ms = now_ms.saturating_add(delay_ms);
        let is_set = self.due_ms.is_some_and(|due_ms| {
            due_ms <= latest_ms && now_ms <= due_ms.saturating_add(ALARM_OVERDUE_MS)
        });
        (!is_set).then_some(latest_ms)
    }

    /// Notes that the alarm is set.
    pub fn was_set(&mut self, due_ms: u64) {
        self.due_ms = Some(due_ms);
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

    #[test]
    fn it_is_set_once_and_again_when_it_fired_or_was_lost() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.sets_to(1_000, 5_000), Some(6_000));
        alarm.was_set(6_000);
        assert_eq!(alarm.sets_to(2_000, 5_000), None);
        assert_eq!(alarm.sets_to(6_000 + ALARM_OVERDUE_MS, 5_000), None);
        let lost = alarm.sets_to(6_001 + ALARM_OVERDUE_MS, 5_000);
        assert!(lost.is_some());
        alarm.fired();
        assert!(alarm.sets_to(6_500, 5_000).is_some());
    }

    #[test]
    fn it_is_brought_forward_and_never_put_off() {
        let mut alarm = Alarm::default();
        alarm.was_set(6_000);
        assert_eq!(alarm.sets_to(1_000, 2_000), Some(3_000));
        alarm.was_set(3_000);
        for now_ms in 1_000..=3_000 + ALARM_OVERDUE_MS {
            assert_eq!(alarm.sets_to(now_ms, 2_000), None);
        }
    }

    #[test]
    fn what_an_instance_before_has_set_is_not_set_anew() {
        let mut alarm = Alarm::default();
        assert!(!alarm.is_known());
        alarm.was_found(Some(6_000));
        assert_eq!(alarm.sets_to(2_000, 5_000), None);
        alarm.fired();
        alarm.was_found(Some(6_000));
        assert!(
            alarm.sets_to(2_000, 5_000).is_some(),
            "what was read is old"
        );
    }
}
