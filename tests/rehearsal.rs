//! What an instance does before anybody asks goes the whole way, whoever its host is.

use std::cell::RefCell;
use std::rc::Rc;

use crate::objects::host::TestHost;
use hitparade::rehearsal::rehearse;

#[test]
fn a_rehearsal_ends_with_the_chart_of_what_it_has_played_and_leaves_nothing() {
    let held = RefCell::new(Vec::new());
    let rehearsed = rehearse(|object, stage| {
        let object = Rc::new(object);
        held.borrow_mut().push(Rc::downgrade(&object));
        TestHost {
            storage: stage.storage,
            now_ms: stage.now_ms,
            tasks: stage.tasks,
            object,
            // No registry answers, and an empty catalog.
            enlisted: Rc::default(),
            ..TestHost::default()
        }
    });
    let (chart, _) = rehearsed.unwrap();
    // Of the first batch: nobody answers for the shard, which has the second.
    let played: u64 = (1..=600).map(|number| 1 + number * 37 % 101).sum();
    assert_eq!(chart.total_views, played);
    assert_eq!(chart.places.len(), 10, "{chart:?}");
    let left = held
        .take()
        .into_iter()
        .filter_map(|object| object.upgrade());
    let left: Vec<String> = left.map(|object| object.as_named().into_owned()).collect();
    assert!(left.is_empty(), "still in memory: {left:?}");
}
