//! A group as it is drawn: how its branches stand, and which of them are shown.
//!
//! A few branches are drawn whole. Of many, the bar and its legend tell how they stand, and those that somebody should
//! look at come first; the others are a page of their own. What is drawn never grows with the number of branches.

use super::buckets::{Bucket, stand};
use super::steps::{Around, Drawing, Room, id};
use super::{counted, thousands};
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Join, Parallel, Task};
use crate::engine::state::{Group as State, Step, StepStatus};
use crate::web::pages::status::Status;
use crate::web::pages::steps::{Group, Link, Share, Step as View, StepList};
use serde_json::Value;
use std::sync::Arc;

/// So many branches are drawn whole, in their own order.
const FEW: usize = 12;
/// Rows of a group that has more, on the run's page.
const FIRST: usize = 12;
/// Rows of a page that shows one group alone.
pub const PAGE: usize = 50;

/// The group that a page shows alone, and which of its branches.
#[derive(Debug, Clone, PartialEq)]
pub struct Focus {
    pub group: StepPath,
    /// None: all of them.
    pub state: Option<Bucket>,
    /// From 1.
    pub page: usize,
}

/// Draws the group into its step.
pub fn draw(
    drawing: &Drawing<'_>,
    task: &Task,
    parallel: &Parallel,
    path: &StepPath,
    room: Room,
    view: &mut View,
) {
    let step = drawing.run.steps.get(path);
    let Some((step, state)) = step.and_then(|step| Some((step, step.group.as_ref()?))) else {
        return to_come(drawing, task, parallel, path, view);
    };
    let mut group = Group { sentence: sentence(parallel, step, state), ..Group::default() };
    if room == Room::Scarce {
        group.all = Some(all_of(drawing, path, state.branches as usize));
        view.group = Some(group);
        return;
    }
    let buckets = stand(drawing.run, task, path, state);
    if step.status == StepStatus::Running {
        view.status = under_way(&buckets);
    }
    let focus = drawing.focus.filter(|focus| focus.group == *path);
    let chosen = focus.and_then(|focus| focus.state);
    let rows = Rows::of(&buckets, focus);
    let paged = focus.is_some() || rows.places.len() < buckets.len();
    group.shares = shares(drawing, path, &buckets, chosen, paged);
    if focus.is_none() && rows.places.len() < buckets.len() {
        group.shown =
            Some(format!("Here are the first {}, those to look at before the others.", rows.places.len()));
        group.all = Some(all_of(drawing, path, buckets.len()));
    }
    if let Some(focus) = focus {
        let page = |page: usize| href(drawing, path, chosen, page);
        group.shown = Some(rows.in_words(chosen));
        group.previous = (focus.page > 1).then(|| page(rows.page - 1));
        group.next = rows.more.then(|| page(rows.page + 1));
    }
    let room = if buckets.len() > FEW { Room::Scarce } else { Room::Ample };
    let branches =
        rows.places.iter().map(|place| branch(drawing, task, parallel, path, *place, buckets[*place], room));
    view.inside =
        StepList { label: format!("Branches of {}", task.label()), inner: true, steps: branches.collect() };
    view.group = Some(group);
}

/// A group that has not begun: what each of its branches will do.
fn to_come(drawing: &Drawing<'_>, task: &Task, parallel: &Parallel, path: &StepPath, view: &mut View) {
    let sentence = match &parallel.for_each {
        Some(each) => format!("Once for each item of {}, at the same time.", each.items.source()),
        None => format!("{}.", needed(parallel.join, parallel.branches.len(), "branch", "branches")),
    };
    view.group = Some(Group { sentence, ..Group::default() });
    let places = 0..parallel.branches.len();
    let branches =
        places.map(|place| branch(drawing, task, parallel, path, place, Bucket::Todo, Room::Ample));
    let mut branches: Vec<View> = branches.collect();
    if parallel.for_each.is_some() {
        branches.iter_mut().for_each(|branch| branch.title = "Each item".to_owned());
    }
    view.inside = StepList { label: format!("Branches of {}", task.label()), inner: true, steps: branches };
}

fn sentence(parallel: &Parallel, step: &Step, state: &State) -> String {
    let (one, more) = if parallel.for_each.is_some() { ("item", "items") } else { ("branch", "branches") };
    if state.branches == 0 {
        return "The list is empty, so there is nothing to do.".to_owned();
    }
    let mut said = needed(parallel.join, state.branches as usize, one, more);
    if let (Some(most), StepStatus::Running) = (parallel.max_concurrency, step.status) {
        said.push_str(&format!(", at most {} at once", thousands(most as usize)));
    }
    let failed = match state.failed {
        0 => String::new(),
        failed => format!(", {} failed", thousands(failed as usize)),
    };
    let fruitless = match state.fruitless {
        0 => String::new(),
        none => format!(", {} did nothing", thousands(none as usize)),
    };
    format!("{said}. So far {} succeeded{failed}{fruitless}.", thousands(state.succeeded as usize))
}

/// "3 branches, and all of them must succeed"
fn needed(join: Join, branches: usize, one: &str, more: &str) -> String {
    let many = counted(branches, one, more);
    match join.needed(u32::try_from(branches).unwrap_or(u32::MAX)) as usize {
        _ if branches == 1 => many,
        needed if needed >= branches => format!("{many}, and all of them must succeed"),
        1 => format!("{many}, and one of them must succeed"),
        needed => format!("{many}, and {} of them must succeed", thousands(needed)),
    }
}

fn under_way(buckets: &[Bucket]) -> Status {
    let any = |bucket| buckets.contains(&bucket);
    match (any(Bucket::Running), any(Bucket::Person), any(Bucket::Waiting)) {
        (false, true, _) => Bucket::Person.status(),
        (false, false, true) => Bucket::Waiting.status(),
        _ => Status::running(),
    }
}

/// One branch. Of a single task: that task; of several: they are inside it.
fn branch(
    drawing: &Drawing<'_>,
    task: &Task,
    parallel: &Parallel,
    path: &StepPath,
    place: usize,
    bucket: Bucket,
    room: Room,
) -> View {
    let item = parallel.for_each.is_some().then_some(place);
    let around: Around<'_> = Some((path, item));
    let tasks: &[Arc<Task>] = drawing.run.protocol.list(Some(&task.id), place);
    let state = drawing.run.steps.get(path).and_then(|step| step.group.as_ref());
    let titled = item.map(|item| item_title(item, state.and_then(|state| state.items.as_ref()?.get(item))));
    if let [only] = tasks {
        let drawn = drawing.task(only, around, room);
        return match titled {
            Some(title) => View { by: format!("{}: {}", only.label(), drawn.by), title, ..drawn },
            None => drawn,
        };
    }
    let over = drawing.run.status.is_final();
    View {
        id: format!("{}-branch-{place}", id(path)),
        title: titled.unwrap_or_else(|| format!("Branch {}", place + 1)),
        by: format!("{}, one after another", counted(tasks.len(), "step", "steps")),
        status: if bucket == Bucket::Todo && over { Status::not_reached() } else { bucket.status() },
        inside: drawing.list(tasks, around, room),
        ..View::default()
    }
}

/// "Item 4: Acme": the item's own words, when it has some.
fn item_title(item: usize, value: Option<&Value>) -> String {
    let number = thousands(item + 1);
    let words = match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Object(map)) => {
            ["name", "title", "label", "id"].iter().find_map(|key| match map.get(*key)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        }
        _ => None,
    };
    match words.filter(|words| !words.trim().is_empty()) {
        Some(words) => format!("Item {number}: {}", words.chars().take(80).collect::<String>()),
        None => format!("Item {number}"),
    }
}

/// Which branches are shown.
struct Rows {
    places: Vec<usize>,
    page: usize,
    before: usize,
    all: usize,
    more: bool,
}

impl Rows {
    fn of(buckets: &[Bucket], focus: Option<&Focus>) -> Rows {
        let mut places: Vec<usize> = (0..buckets.len()).collect();
        if let Some(state) = focus.and_then(|focus| focus.state) {
            places.retain(|place| buckets[*place] == state);
        }
        if focus.is_none() && places.len() <= FEW {
            return Rows { all: places.len(), places, page: 1, before: 0, more: false };
        }
        places.sort_by_key(|place| buckets[*place]);
        let all = places.len();
        let size = if focus.is_some() { PAGE } else { FIRST };
        let pages = all.div_ceil(size).max(1);
        let page = focus.map_or(1, |focus| focus.page.clamp(1, pages));
        let before = (page - 1) * size;
        let places: Vec<usize> = places.into_iter().skip(before).take(size).collect();
        let more = before + places.len() < all;
        Rows { places, page, before, all, more }
    }

    fn in_words(&self, state: Option<Bucket>) -> String {
        let which =
            state.map(|state| format!(" ({})", state.status().word.to_lowercase())).unwrap_or_default();
        match self.places.len() {
            0 => format!("No branch is in this state{which} now."),
            shown => format!(
                "{} to {} of {}{which}.",
                thousands(self.before + 1),
                thousands(self.before + shown),
                thousands(self.all)
            ),
        }
    }
}

fn shares(
    drawing: &Drawing<'_>,
    path: &StepPath,
    buckets: &[Bucket],
    chosen: Option<Bucket>,
    paged: bool,
) -> Vec<Share> {
    let count = |bucket| buckets.iter().filter(|other| **other == bucket).count();
    let present: Vec<(Bucket, usize)> = Bucket::ALL
        .into_iter()
        .map(|bucket| (bucket, count(bucket)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let widths = widths(&present.iter().map(|(_, count)| *count).collect::<Vec<_>>());
    let mut from = 0;
    let share = |((bucket, count), width): ((Bucket, usize), usize)| {
        let begins = from;
        from += width;
        let over = drawing.run.status.is_final() && bucket == Bucket::Todo;
        Share {
            status: if over { Status::not_reached() } else { bucket.status() },
            count: thousands(count),
            from: begins,
            width,
            href: paged.then(|| href(drawing, path, Some(bucket), 1)),
            current: chosen == Some(bucket),
        }
    };
    present.into_iter().zip(widths).map(share).collect()
}

/// How long each piece of the bar is, in thousandths. A single one among thousands is still to be seen.
fn widths(counts: &[usize]) -> Vec<usize> {
    const LEAST: usize = 8;
    let all: usize = counts.iter().sum::<usize>().max(1);
    let mut widths: Vec<usize> = counts.iter().map(|count| (count * 1000 / all).max(LEAST)).collect();
    let sum: usize = widths.iter().sum();
    if let Some(longest) = widths.iter_mut().max() {
        *longest = (*longest + 1000).saturating_sub(sum);
    }
    widths
}

fn all_of(drawing: &Drawing<'_>, path: &StepPath, branches: usize) -> Link {
    Link { href: href(drawing, path, None, 1), text: format!("All {}", thousands(branches)) }
}

/// `/runs/9001?group=checks&state=failed&page=2`; of a moment of its recording, `/runs/9001/replay?at=17&group=checks`.
fn href(drawing: &Drawing<'_>, path: &StepPath, state: Option<Bucket>, page: usize) -> String {
    let page = page.to_string();
    let moment = drawing.known.moment.map(|moment| moment.to_string());
    let mut pairs: Vec<(&str, &str)> = moment.as_deref().map(|moment| ("at", moment)).into_iter().collect();
    pairs.push(("group", path.as_str()));
    pairs.extend(state.map(|state| ("state", state.slug())));
    if page != "1" {
        pairs.push(("page", &page));
    }
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let place = if moment.is_some() { "/replay" } else { "" };
    format!("/runs/{}{place}?{query}", drawing.run.id)
}
