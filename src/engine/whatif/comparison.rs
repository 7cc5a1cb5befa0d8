//! Where the two went differently, in sentences.

use super::reading::Read;
use super::simulation::Told;
use super::{Asks, Counterparts, Difference, Kind, Other, Report, Side};
use crate::engine::command::Command;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Hitl, Work};
use crate::engine::state::{Run, RunStatus, Step, StepStatus};
use std::collections::HashMap;

/// Of many steps alike, so many are told one by one.
const ALIKE: usize = 5;

pub fn compare(read: &Read<'_>, told: &Told, other: &Other) -> Report {
    let mut recorded = Counterparts::default();
    read.run.steps.iter().for_each(|(path, _)| recorded.add(path));
    let comparison = Comparison { then: &read.run, now: &told.run, told, recorded, called: &other.called };
    let pairs = comparison.pairs();
    let mut differences = Vec::new();
    let mut same_until = None;
    for pair in &pairs {
        let before = differences.len();
        comparison.step(pair, &mut differences);
        if before == 0 && differences.is_empty() && pair.then.is_some() {
            same_until = pair.then.clone();
        }
    }
    let stuck = pairs.iter().any(|pair| comparison.is_unknown(pair)) || comparison.rests();
    let now = (!stuck || told.run.status.is_final()).then_some(told.run.status);
    comparison.run(now, &mut differences);
    let sides = pairs.iter().map(|pair| comparison.side(pair)).collect();
    Report { then: read.run.status, now, same_until, differences: gathered(differences), sides }
}

struct Comparison<'a> {
    then: &'a Run,
    now: &'a Run,
    told: &'a Told,
    recorded: Counterparts,
    called: &'a str,
}

/// A step of either run, with the one that stands in for it.
struct Pair {
    then: Option<StepPath>,
    now: Option<StepPath>,
}

impl Comparison<'_> {
    /// All steps that began, in the order of the recorded run; those of the other version alone after the one that they
    /// came after.
    fn pairs(&self) -> Vec<Pair> {
        let places: HashMap<&StepPath, usize> =
            self.then.steps.iter().enumerate().map(|(place, (path, _))| (path, place)).collect();
        let mut pairs: Vec<((usize, usize), Pair)> = Vec::new();
        let mut paired = vec![false; places.len()];
        let mut after = 0;
        for (number, (path, _)) in self.now.steps.iter().enumerate() {
            let then = self.recorded.of(self.then, path);
            let place = then.as_ref().and_then(|then| places.get(then).copied());
            let key = match place {
                Some(place) => {
                    after = place + 1;
                    paired[place] = true;
                    (after, 0)
                }
                None => (after, number + 1),
            };
            pairs.push((key, Pair { then, now: Some(path.clone()) }));
        }
        for (place, (path, _)) in self.then.steps.iter().enumerate() {
            if !paired[place] {
                pairs.push(((place + 1, 0), Pair { then: Some(path.clone()), now: None }));
            }
        }
        pairs.sort_by_key(|(key, _)| *key);
        pairs.into_iter().map(|(_, pair)| pair).collect()
    }

    fn steps(&self, pair: &Pair) -> (Option<&Step>, Option<&Step>) {
        (
            pair.then.as_ref().and_then(|path| self.then.steps.get(path)).map(AsRef::as_ref),
            pair.now.as_ref().and_then(|path| self.now.steps.get(path)).map(AsRef::as_ref),
        )
    }

    fn side(&self, pair: &Pair) -> Side {
        let (then, now) = self.steps(pair);
        Side {
            step: pair.now.clone().or_else(|| pair.then.clone()).unwrap_or_else(|| StepPath::from_log("")),
            then: then.map(|step| step.status),
            now: now.map(|step| step.status),
            unknown: self.is_unknown(pair),
        }
    }

    /// It needs an answer that the record does not have. What is open in the recorded run as well stands as it stood.
    fn is_unknown(&self, pair: &Pair) -> bool {
        let (then, now) = self.steps(pair);
        let Some(now) = now.filter(|now| now.status.is_open() && now.group.is_none()) else { return false };
        !then.is_some_and(|then| {
            then.status == now.status
                && std::mem::discriminant(&then.waits) == std::mem::discriminant(&now.waits)
        })
    }

    /// It is paused where the recorded run was not.
    fn rests(&self) -> bool {
        self.now.status == RunStatus::Paused && self.then.status != RunStatus::Paused
    }

    fn step(&self, pair: &Pair, differences: &mut Vec<Difference>) {
        let path = pair.now.as_ref().or(pair.then.as_ref());
        let Some(path) = path else { return };
        let mut add =
            |kind, message| differences.push(Difference { step: Some(path.clone()), kind, message });
        match self.steps(pair) {
            (Some(then), None) => {
                if let Some(message) = self.only_then(path, then) {
                    add(Kind::OnlyThen, message);
                }
                return;
            }
            (None, Some(now)) => add(Kind::OnlyNow, self.only_now(path, now)),
            (Some(then), Some(now)) => {
                let recorded = pair.then.as_ref().unwrap_or(path);
                self.asked(path, recorded, then, now, &mut add);
                if then.status != now.status && !self.is_unknown(pair) {
                    add(Kind::Status, self.status(path, then, now));
                }
            }
            (None, None) => {}
        }
        if self.is_unknown(pair) {
            add(Kind::NotRecorded, self.not_recorded(path, pair));
        }
    }

    /// None: the other version has it too, and nobody knows whether it would come to it.
    fn only_then(&self, path: &StepPath, then: &Step) -> Option<String> {
        let was = outcome(then.status);
        if path.undone().is_some() && self.now.status.is_final() {
            return Some(format!("{} was taken back; with {} it is not.", code(path), self.called));
        }
        if self.now.protocol.task(path).is_none() {
            return Some(format!("{} {was}; {} has no such step.", code(path), self.called));
        }
        let over = self.now.status.is_final();
        over.then(|| format!("{} {was}; with {} the run never comes to it.", code(path), self.called))
    }

    fn only_now(&self, path: &StepPath, now: &Step) -> String {
        let becomes = match now.status.is_open() {
            true => "begins".to_owned(),
            false => becomes(now),
        };
        let note = reason(now);
        match self.then.protocol.task(path) {
            None => format!("{} is new in {}: it {becomes}{note}.", code(path), self.called),
            Some(_) => format!(
                "The recorded run never came to {}; with {} it {becomes}{note}.",
                code(path),
                self.called
            ),
        }
    }

    /// What it is asked, and whom.
    fn asked(
        &self,
        path: &StepPath,
        recorded: &StepPath,
        then: &Step,
        now: &Step,
        add: &mut impl FnMut(Kind, String),
    ) {
        let (before, after) = (Asks::of(self.then, recorded), Asks::of(self.now, path));
        let both = then.status != StepStatus::Skipped && now.status != StepStatus::Skipped;
        let kinds = |asks: &Option<Asks>| match asks {
            // What it waits for is known only while it waits.
            Some(Asks::Event { name, .. }) => Some(Asks::Event { name: name.clone(), key: None }),
            other => other.clone(),
        };
        if let (Some(was), Some(is)) = (kinds(&before), kinds(&after))
            && was != is
        {
            let message = format!("{} asks {} instead of {}.", code(path), is.in_words(), was.in_words());
            add(Kind::Calls, message);
        } else if both
            && let (Some(was), Some(is)) = (&then.checksum, &now.checksum)
            && was != is
        {
            let message = format!(
                "{} is asked for something else: its input differs. The recorded answer is used all the same.",
                code(path)
            );
            add(Kind::Input, message);
        }
        if let (Some(was), Some(is)) = (&then.group, &now.group)
            && (was.branches, was.needed) != (is.branches, is.needed)
        {
            let message = format!(
                "{} has {} branches, of which {} must succeed, instead of {}, of which {} must.",
                code(path),
                is.branches,
                is.needed,
                was.branches,
                was.needed
            );
            add(Kind::Branches, message);
        }
        let (was, is) = (self.then.protocol.task(recorded), self.now.protocol.task(path));
        if let (Some(Work::Hitl(was)), Some(Work::Hitl(is))) =
            (was.map(|task| &task.work), is.map(|task| &task.work))
            && both
            && (&was.approvers, was.quorum, was.four_eyes) != (&is.approvers, is.quorum, is.four_eyes)
        {
            let message = format!("{} needs {} instead of {}.", code(path), needed(is), needed(was));
            add(Kind::Approvers, message);
        }
    }

    fn status(&self, path: &StepPath, then: &Step, now: &Step) -> String {
        let becomes = if now.status.is_open() { "is still open".to_owned() } else { becomes(now) };
        format!(
            "{} {}{}; with {} it {becomes}{}.",
            code(path),
            outcome(then.status),
            reason(then),
            self.called,
            reason(now)
        )
    }

    fn not_recorded(&self, path: &StepPath, pair: &Pair) -> String {
        let asks = Asks::of(self.now, path);
        let what = match asks {
            Some(Asks::Person) => format!("what would have been decided at {}", code(path)),
            Some(Asks::Event { .. }) => format!("what {} waits for", code(path)),
            _ => format!("what {} would have answered", code(path)),
        };
        let why = pair.now.as_ref().and_then(|now| self.told.refused.get(now));
        let why = why.map_or_else(String::new, |why| format!(" {why}"));
        format!("The record does not say {what}.{why} What comes after it is not known.")
    }

    /// The run as a whole.
    fn run(&self, now: Option<RunStatus>, differences: &mut Vec<Difference>) {
        let mut add = |step, kind, message| differences.push(Difference { step, kind, message });
        if self.rests() {
            let why = self.now.note.as_deref().unwrap_or("a person must look");
            let message = format!(
                "With {} the run is paused ({}), and the record does not say what a person would have done.",
                self.called,
                why.trim_end_matches('.')
            );
            add(self.now.paused_for.clone(), Kind::NotRecorded, message);
        }
        let Some(now) = now else { return };
        if now == self.then.status {
            for (command, refusal) in &self.told.acts {
                let message = format!("{} makes no sense with {}: {refusal}", act(command), self.called);
                add(None, Kind::Act, message);
            }
            return;
        }
        let why = self
            .now
            .note
            .as_deref()
            .map_or_else(String::new, |why| format!(": {}", why.trim_end_matches('.')));
        let message = format!(
            "The run was {}; with {} it is {}{why}.",
            self.then.status.as_str(),
            self.called,
            now.as_str()
        );
        add(None, Kind::End, message);
    }
}

fn code(path: &StepPath) -> String {
    format!("`{path}`")
}

fn outcome(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Pending => "had not begun",
        StepStatus::Running => "was under way",
        StepStatus::Waiting => "was waiting",
        StepStatus::Done => "was done",
        StepStatus::Failed => "failed",
        StepStatus::Skipped => "was skipped",
        StepStatus::Cancelled => "was cancelled",
    }
}

fn becomes(step: &Step) -> String {
    let words = match step.status {
        StepStatus::Pending => "does not begin",
        StepStatus::Running => "is under way",
        StepStatus::Waiting => "waits",
        StepStatus::Done => "is done",
        StepStatus::Failed => "fails",
        StepStatus::Skipped => "is skipped",
        StepStatus::Cancelled => "is cancelled",
    };
    words.to_owned()
}

/// Why it was skipped, failed or cancelled.
fn reason(step: &Step) -> String {
    step.note.as_deref().map_or_else(String::new, |note| format!(" ({})", note.trim_end_matches('.')))
}

fn needed(hitl: &Hitl) -> String {
    let whom = hitl.approvers.in_words();
    let starter = if hitl.four_eyes { "" } else { ", whoever started the run included" };
    match hitl.quorum {
        1 => format!("{whom}{starter}"),
        quorum => format!("{quorum} different people ({whom}{starter})"),
    }
}

fn act(command: &Command) -> &'static str {
    match command {
        Command::PauseRun { .. } => "Pausing the run",
        Command::ResumeRun { .. } => "Letting the run go on",
        Command::CancelRun { .. } => "Cancelling the run",
        Command::SetValue { .. } => "Setting a value",
        Command::FileOverride { .. } => "Filing the override",
        Command::DecideOverride { .. } => "Deciding the override",
        Command::MigrateRun { .. } => "Moving the run",
        _ => "What was done to the run",
    }
}

/// Of many steps of one task that differ alike, the first few are told, and the others counted.
fn gathered(differences: Vec<Difference>) -> Vec<Difference> {
    let key = |difference: &Difference| {
        let step = difference.step.as_ref().filter(|step| step.as_str().contains('['))?;
        Some((step.task_id().to_owned(), difference.kind))
    };
    let mut counts: HashMap<(String, Kind), usize> = HashMap::new();
    for difference in &differences {
        if let Some(key) = key(difference) {
            *counts.entry(key).or_default() += 1;
        }
    }
    let mut seen: HashMap<(String, Kind), usize> = HashMap::new();
    let mut kept = Vec::new();
    for mut difference in differences {
        if let Some(key) = key(&difference) {
            let seen = seen.entry(key.clone()).or_default();
            *seen += 1;
            let all = counts.get(&key).copied().unwrap_or(0);
            if *seen > ALIKE && all > ALIKE + 1 {
                if *seen > ALIKE + 1 {
                    continue;
                }
                difference.message = format!("The same for {} more steps of `{}`.", all - ALIKE, key.0);
            }
        }
        kept.push(difference);
    }
    kept
}
