//! Readers of posts' pages and of the list of regions, and what must hold for what they are told.

use super::*;

impl World {
    pub(super) fn read(&mut self) {
        if !self.global_is_up() {
            return;
        }
        if self.random.chance(60) {
            self.open_or_close_sockets();
        }
        match self.random.chance(700) {
            true => self.ask_for_page(),
            false => {
                let asked_ms = self.now_ms;
                self.ask_for_a_while(
                    |driver| async move { driver.regions().await },
                    move |world, reply| world.regions_answered(asked_ms, reply),
                );
            }
        }
    }

    fn ask_for_page(&mut self) {
        let random = &mut self.random;
        let post = random.skewed(POPULAR_POSTS) as usize;
        let region = random.below(2 * self.profile.regions as u64) as usize;
        let scope = Some(region).filter(|region| *region < self.profile.regions);
        let window = match random.below(3) {
            0 => WindowRequest::All,
            _ => WindowRequest::Sliding {
                length_ms: random.between(1, 40) * HOUR_MS,
            },
        };
        let question = PostQuestion {
            asker: random.below(3),
            page: PostRequest {
                post_id: self.posts[post].clone(),
                scope: scope.map_or("global", region_name).into(),
                window,
                hidden_too: false,
            },
        };
        let (message, asked_ms) = (codec::encode(&question), self.now_ms);
        self.ask_for_a_while(
            |driver| async move { driver.post(&message).await },
            move |world, reply| world.page_answered(post, (scope, window), asked_ms, reply),
        );
    }

    fn page_answered(
        &mut self,
        post: usize,
        (scope, window): (Option<usize>, WindowRequest),
        asked_ms: u64,
        reply: &[u8],
    ) {
        let report = match codec::decode::<PostReply>(reply) {
            Ok(PostReply(Ok(report))) => report,
            Ok(PostReply(Err(_))) if !self.calm => return,
            Ok(PostReply(Err(Refusal::Busy { .. }))) if self.may_miss_others(asked_ms) => return,
            Ok(PostReply(Err(Refusal::NotFound | Refusal::NotCounted { .. }))) => return,
            Ok(PostReply(Err(Refusal::RegionDeleted))) => return,
            answer => return self.fail(format!("{answer:?} for a page")),
        };
        self.figures.pages += 1;
        let name = format!("page of {} in {scope:?} {window:?}", self.posts[post]);
        self.say(|| name.clone());
        // What it has, charts may have too.
        if scope.is_none_or(|region| self.incarnations[region].1) {
            let span = match window {
                WindowRequest::All => Span::ALL,
                _ => report.span,
            };
            let (_, most) = self.expected(scope, span, false, self.now_ms).posts[post];
            let count = report.count;
            if count.view_count_min > most {
                return self.fail(format!("{name}: {count:?}, and {most} at most"));
            }
        }
        // It is of one moment: its parts are those of its sum.
        let series = report.series.iter().map(|(_, count)| count);
        let mut parts = vec![("time", sum_of(series))];
        let regions = report.regions.iter();
        let in_scope = regions.filter(|(id, _)| scope.is_none_or(|scope| region_name(scope) == id));
        let has_all = self.incarnations.iter().all(|(deleted, _)| *deleted == 0);
        if has_all || scope.is_some() {
            parts.push(("region", sum_of(in_scope.map(|(_, count)| count))));
        }
        for (by, (least, most)) in parts {
            let count = report.count;
            if least > count.view_count_max || most < count.view_count_min {
                return self.fail(format!("{name}: {count:?}, by {by} {least} to {most}"));
            }
        }
    }

    fn regions_answered(&mut self, asked_ms: u64, reply: &[u8]) {
        let list = match codec::decode::<RegionsReply>(reply) {
            Ok(RegionsReply(Ok(list))) => list,
            Ok(RegionsReply(Err(_))) if !self.calm => return,
            Ok(RegionsReply(Err(Refusal::Busy { .. }))) if self.may_miss_others(asked_ms) => return,
            answer => return self.fail(format!("{answer:?} for the regions")),
        };
        for region in 0..self.profile.regions {
            let found = list.iter().find(|it| it.region_id == region_name(region));
            if found.is_some() != self.incarnations[region].1 {
                return self.fail(format!("region {region} in the list: {found:?}"));
            }
            let (_, most) = self
                .expected(Some(region), Span::ALL, false, self.now_ms)
                .total;
            // Its plays may have been counted before it was deleted and made again.
            let is_first = self.incarnations[region].0 == 0 && self.epoch_ms == 0;
            if found.is_some_and(|it| it.views_24h > most) && is_first {
                return self.fail(format!("{found:?}, and {most} plays at most"));
            }
        }
    }
}

fn sum_of<'a>(counts: impl Iterator<Item = &'a Count>) -> (u64, u64) {
    counts.fold((0, 0), |(least, most), count| {
        (least + count.view_count_min, most + count.view_count_max)
    })
}
