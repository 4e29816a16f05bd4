//! What an instance does before anybody asks goes the whole way, whoever its host is.

use std::cell::Cell;
use std::rc::Rc;

use crate::objects::host::TestHost;
use hitparade::rehearsal::rehearse;

#[test]
fn a_rehearsal_ends_with_the_chart_of_what_it_has_played() {
    let chart = rehearse(|object, stage| TestHost {
        storage: stage.storage,
        now_ms: stage.now_ms,
        tasks: stage.tasks,
        object: Rc::new(object),
        // Nobody else is there.
        catalog_is_away: Rc::new(Cell::new(true)),
        ..TestHost::default()
    });
    let chart = chart.unwrap();
    assert_eq!(chart.total_views, 1);
    assert_eq!(chart.places.len(), 1);
}
