use super::ALARM_OVERDUE_MS;

/// Whether the object will wake up by itself.
///
/// An object has one alarm at a time. The alarm is set before anything is written that must be pushed
/// later. When it fires and work is left, the next alarm is set before anything else is done. Should an
/// alarm be lost nevertheless, the next request notices that and sets another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alarm {
    due_ms: Option<u64>,
}

impl Alarm {
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
    }

    /// Notes that the alarm fired: none is set any more.
    pub fn fired(&mut self) {
        self.due_ms = None;
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
}
