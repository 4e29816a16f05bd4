use super::ALARM_OVERDUE_MS;

/// Whether the object will wake up by itself.
///
/// There is one alarm at a time. It is set before anything is written that somebody must push
/// later, and again, first of all, whenever it fires and there is work left. Should one be lost
/// nevertheless, the next request notices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alarm {
    due_ms: Option<u64>,
}

impl Alarm {
    /// What the alarm is to be set to, so that it fires within `delay_ms`; `None` where it will.
    /// Setting it anew each time would put it off for as long as somebody comes.
    pub fn sets_to(self, now_ms: u64, delay_ms: u64) -> Option<u64> {
        let latest_ms = now_ms.saturating_add(delay_ms);
        let is_set = self.due_ms.is_some_and(|due_ms| {
            due_ms <= latest_ms && now_ms <= due_ms.saturating_add(ALARM_OVERDUE_MS)
        });
        (!is_set).then_some(latest_ms)
    }

    /// It is set.
    pub fn was_set(&mut self, due_ms: u64) {
        self.due_ms = Some(due_ms);
    }

    /// It fired: it is not set any more.
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
