use super::{ALARM_OVERDUE_MS, PUSH_INTERVAL_MS};

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
    /// When to set the alarm to; `None` where it is set.
    pub fn to_be_set(&self, now_ms: u64) -> Option<u64> {
        let is_set = self
            .due_ms
            .is_some_and(|due_ms| now_ms <= due_ms.saturating_add(ALARM_OVERDUE_MS));
        (!is_set).then(|| now_ms.saturating_add(PUSH_INTERVAL_MS))
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
        assert_eq!(alarm.to_be_set(1_000), Some(1_000 + PUSH_INTERVAL_MS));
        alarm.was_set(6_000);
        assert_eq!(alarm.to_be_set(2_000), None);
        assert_eq!(alarm.to_be_set(6_000 + ALARM_OVERDUE_MS), None);
        assert!(alarm.to_be_set(6_001 + ALARM_OVERDUE_MS).is_some(), "lost");
        alarm.fired();
        assert!(alarm.to_be_set(6_500).is_some());
    }
}
