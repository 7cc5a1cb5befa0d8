//! What a run knows when a person has to decide.

use super::steps::read;
use crate::engine::ids::StepPath;
use crate::engine::protocol::Work;
use crate::engine::state::Run;
use crate::web::pages::assessment::{Assessment, RiskLevel};
use crate::web::pages::facts::{self, Fact};
use crate::web::pages::reading;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// What the run was about when it reached a step, for whoever decides there: the application, then the letter and
/// the assessment, then everything else.
#[derive(Debug, Default)]
pub struct Evidence {
    pub application: Vec<Fact>,
    pub assessment: Option<Assessment>,
    pub letter: Option<String>,
    pub others: Vec<(String, Vec<Fact>)>,
}

/// What is known before the step: of its own branch and of the outermost list.
pub fn evidence(run: &Run, before: &StepPath) -> Evidence {
    let tasks = &run.protocol.tasks;
    let all = run.protocol.all();
    let saved: HashSet<&str> = all.iter().map(|place| place.task.saves.as_str()).collect();
    let mut about: Map<_, _> = run
        .payload
        .iter()
        .filter(|(key, _)| !saved.contains(key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let outermost = outermost(before);
    let (mut found, mut has_application) = (Evidence::default(), false);
    for task in tasks.iter().take_while(|task| task.id != outermost.task_id()) {
        let Some(result) = run.payload.get(&task.saves) else { continue };
        let reading = read(result, task);
        let plain = reading.assessment.is_none() && reading.letter.is_none();
        if let (true, false, Work::Script(_), Some(fields)) =
            (plain, has_application, &task.work, result.as_object())
        {
            about.extend(fields.clone());
            has_application = true;
            continue;
        }
        found.assessment = reading.assessment.or(found.assessment);
        found.letter = reading.letter.or(found.letter);
        if !reading.rest.is_empty() {
            found.others.push((format!("Details of: {}", task.label()), reading.rest));
        }
    }
    found.application = facts::short(&Value::Object(about));
    found.others.extend(of_branch(run, before));
    found
}

/// The item that the step is about, and what its own branch has found.
fn of_branch(run: &Run, step: &StepPath) -> Option<(String, Vec<Fact>)> {
    let (group, item) = step.group()?;
    let place = run.protocol.place(step.task_id())?;
    let branch = item.unwrap_or(place.branch);
    let group = run.steps.get(&group)?.group.as_ref()?;
    let item = item.and_then(|item| group.items.as_ref()?.get(item));
    let own = group.own.get(&u32::try_from(branch).ok()?);
    let mut known: Map<String, Value> = own.map(|own| (**own).clone()).unwrap_or_default();
    if let Some(item) = item {
        known.insert("item".to_owned(), item.clone());
    }
    (!known.is_empty()).then(|| ("What this branch is about".to_owned(), facts::short(&Value::Object(known))))
}

fn outermost(step: &StepPath) -> StepPath {
    let mut outermost = step.clone();
    while let Some((group, _)) = outermost.group() {
        outermost = group;
    }
    outermost
}

/// The risk that an agent of the run stated last.
pub fn risk(run: &Run) -> Option<RiskLevel> {
    let agents = run.protocol.all().into_iter().filter(|place| matches!(place.task.work, Work::Agent(_)));
    agents.filter_map(|place| reading::risk(run.payload.get(&place.task.saves)?)).next_back()
}
