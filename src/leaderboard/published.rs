//! What a published chart says besides its counts: the chart of one complete day, week or month, as it
//! stood when it was closed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::window::{Period, PeriodKind, Span, is_zone_name};

/// Places of a published chart.
pub const PUBLISHED_PLACES: usize = 100;
/// The periods whose charts are published.
pub const PUBLISHED_KINDS: [PeriodKind; 3] = [PeriodKind::Day, PeriodKind::Week, PeriodKind::Month];

/// Which chart it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub period: Period,
    /// Whose days, weeks and months these are: a name of the tz database.
    pub time_zone: String,
    /// The published charts of the same scope and kind before and after it.
    pub earlier: Option<Period>,
    pub later: Option<Period>,
}

/// A post's run on the published charts of one scope and kind, up to and with one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// On this chart. Posts that were hidden since leave gaps.
    pub rank: u32,
    /// The best that it ever had.
    pub peak_rank: u32,
    /// On so many charts it was, this one among them.
    pub periods: u32,
    /// On so many in a row.
    pub streak: u32,
    /// The first one that it was on.
    pub debut: Period,
}

impl Run {
    /// It was on a chart before, and not on the last one.
    pub const fn is_re_entry(&self) -> bool {
        self.periods > 1 && self.streak == 1
    }
}

/// A chart as it was closed: without what the catalog says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedChart {
    pub period: Period,
    /// As [`Published::time_zone`].
    pub time_zone: String,
    /// What it covers.
    pub span: Span,
    pub closed_ms: u64,
    /// All plays, exact.
    pub total_views: u64,
    /// No post that was visible then and is not listed has more plays.
    pub unlisted_max: u64,
    /// A stored row that belongs to it, or a chart before it, could not be read.
    pub incomplete: bool,
    /// As [`super::Leaderboard::exact`].
    pub exact: bool,
    /// In the order of their ranks, [`PUBLISHED_PLACES`] at most.
    pub places: Vec<ClosedPlace>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedPlace {
    pub post_id: String,
    pub view_count_min: u64,
    pub view_count_max: u64,
    /// Its rank on the chart of the period just before.
    pub previous_rank: Option<u32>,
    pub run: Run,
}

impl ClosedChart {
    /// Of a period in which nothing was played: never shown, it says up to where charts are closed.
    pub fn empty(period: Period, time_zone: &str, span: Span, closed_ms: u64) -> Self {
        ClosedChart {
            period,
            time_zone: time_zone.to_owned(),
            span,
            closed_ms,
            total_views: 0,
            unlisted_max: 0,
            incomplete: false,
            exact: true,
            places: Vec::new(),
        }
    }

    /// Nothing was played: nobody is shown it.
    pub fn is_empty(&self) -> bool {
        self.total_views == 0
    }

    /// What is wrong with one that somebody else closed, as a sentence.
    ///
    /// # Errors
    /// For what no chart says, and for a period that is not over.
    pub fn check(&self, now_ms: u64) -> Result<(), &'static str> {
        let is_one = self.places.len() <= PUBLISHED_PLACES
            && is_zone_name(&self.time_zone)
            && PUBLISHED_KINDS.contains(&self.period.kind());
        if !is_one {
            return Err("no chart is published with so many places, of such a period or zone");
        }
        if self.span.is_empty() || self.span.to_ms > now_ms {
            return Err("a chart of a period that is not over");
        }
        let is_sound = |(rank, place): (u32, &ClosedPlace)| {
            let run = &place.run;
            place.view_count_min <= place.view_count_max
                && place.view_count_max <= self.total_views
                && place.previous_rank != Some(0)
                && run.rank == rank
                && (1..=rank).contains(&run.peak_rank)
                && (1..=run.periods).contains(&run.streak)
                && run.debut.kind() == self.period.kind()
                && run.debut <= self.period
        };
        let mut ids = BTreeSet::new();
        let are_apart = self.places.iter().all(|place| ids.insert(&place.post_id));
        match are_apart && (1..).zip(&self.places).all(is_sound) {
            true => Ok(()),
            false => Err("a place that no chart has"),
        }
    }
}

/// A published chart in a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedChart {
    pub period: Period,
    /// As [`Published::time_zone`].
    pub time_zone: String,
    pub span: Span,
    pub total_views: u64,
    pub closed_ms: u64,
    /// The first visible places; of a list of a post's charts, its own.
    pub places: Vec<super::Place>,
}
