//! Event time: timeframes, panes, the ladder.
