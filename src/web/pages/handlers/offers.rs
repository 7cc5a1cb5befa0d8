//! Which acts the page of a run offers to whoever looks: those that the policy permits and the run's state allows.
//!
//! Only offers: whoever asks for another act is refused by the same door as everybody.

use super::sent::Sent;
use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Protocol, Task, Work};
use crate::engine::redact;
use crate::engine::state::{Run, RunStatus, Step, Waits};
use crate::web::pages::acts::{ActForm, ActPage, Acts, one_of, text};
use crate::web::pages::forms::Choice;
use crate::web::pages::steps::Link;
use crate::web::pages::{approvers, plan};

/// Of more steps than this nobody chooses from a list: their path is typed.
const MOST_STEPS: usize = 50;

/// A form that came back.
pub struct Back {
    pub act: &'static str,
    pub sent: Sent,
    /// Field and message; without a field for the form as a whole.
    pub problems: Vec<(String, String)>,
}

/// What whoever looks may do now.
pub fn offers(run: &Run, who: &Principal, back: Option<&Back>) -> Acts {
    let may = |permission| allow(who, permission, Resource::Run { started_by: &run.started_by }).is_ok();
    let steer = may(Permission::SteerRun);
    let forms = [
        may(Permission::CancelRun).then(|| resume(run)).flatten(),
        steer.then(|| retry(run)).flatten(),
        steer.then(|| skip(run, who)).flatten(),
        steer.then(|| pause(run)).flatten(),
        steer.then(|| value(run)).flatten(),
        may(Permission::CancelRun).then(|| cancel(run)).flatten(),
    ];
    let forms = forms.into_iter().flatten().map(|form| match back.filter(|back| back.act == form.act) {
        Some(back) => form.back(&|name| back.sent.text(name), &back.problems),
        None => form,
    });
    let on_its_way = !run.status.is_final() && run.ending.is_none();
    let page = |offered: bool, name: &str, text: &str, hint: &str| {
        offered.then(|| ActPage {
            link: Link { href: format!("/runs/{}/{name}", run.id), text: text.to_owned() },
            hint: hint.to_owned(),
        })
    };
    let filing = may(Permission::Override) && on_its_way && run.overridden.is_none();
    let again = may(Permission::RerunRun) && run.status.is_final() && run.salt.is_some();
    let pages = [
        page(filing, "override", "File an override", "It is paused at once, and somebody else decides."),
        page(
            may(Permission::MigrateRun) && on_its_way,
            "migrate",
            "Move it to another version of its protocol",
            "You see what would happen before anything does.",
        ),
        page(
            redact::is_marked(run) && may(Permission::ReadSealed),
            "sealed",
            "Show sealed values",
            "You say why you need them. That you read them is kept in the activity log.",
        ),
        page(
            redact::is_marked(run) && run.status.is_final() && may(Permission::Redact),
            "redaction",
            "Ask that a sealed value is erased",
            "Somebody else decides. Once erased it is gone for good; the log and its proofs stay as they are.",
        ),
        page(again, "rerun", "Run it once more", "What was done already is taken over, not done twice."),
    ];
    Acts { forms: forms.collect(), pages: pages.into_iter().flatten().collect() }
}

/// It goes towards an end that nothing of this can change, or is there.
fn is_settled(run: &Run) -> bool {
    run.status.is_final() || run.ending.is_some()
}

fn paused_by_a_person(run: &Run) -> bool {
    run.status == RunStatus::Paused && run.paused_for.is_none()
}

fn pause(run: &Run) -> Option<ActForm> {
    let hint = "Nothing new begins until somebody lets it go on. What is running may end.";
    let form = ActForm::new("pause", "Pause this run", hint, format!("Pause run {}", run.id));
    (!is_settled(run) && !paused_by_a_person(run)).then(|| form.with_reason("Why is it paused?"))
}

fn resume(run: &Run) -> Option<ActForm> {
    let cause = run.paused_for.as_ref().and_then(|path| run.steps.get_key_value(path));
    let held_up = cause.is_some_and(|(path, step)| run.holds(path, step));
    let may = run.status == RunStatus::Paused && run.overridden.is_none() && !held_up;
    let hint = "It goes on where it stopped.";
    let form = ActForm::new("resume", "Let this run go on", hint, format!("Let run {} go on", run.id));
    may.then(|| form.with_reason("Why may it go on?"))
}

fn cancel(run: &Run) -> Option<ActForm> {
    let hint = "What is running gets a moment to end, then what was done is taken back where the protocol says how. \
                A cancelled run cannot be continued.";
    let form = ActForm::new("cancel", "Cancel this run", hint, format!("Cancel run {}", run.id));
    (!is_settled(run)).then(|| ActForm { danger: true, ..form.with_reason("Why is it cancelled?") })
}

fn retry(run: &Run) -> Option<ActForm> {
    if run.status.is_final() || paused_by_a_person(run) {
        return None;
    }
    let steps = begun(run).filter(|(path, step)| {
        let waits = matches!(step.waits, Some(Waits::Retry { .. }));
        step.group.is_none() && (waits || step.is_lost() || run.holds(path, step))
    });
    let hint = "The step is begun once more, and the service can tell that it is the same request.";
    let form = ActForm::new("retry", "Have a step tried again", hint, "Try this step again".to_owned());
    Some(form.with(choose(run, steps.map(|(path, _)| path))?).with_reason("Why may it be tried again?"))
}

fn skip(run: &Run, who: &Principal) -> Option<ActForm> {
    if run.status.is_final() {
        return None;
    }
    let steps = begun(run).filter(|(path, step)| {
        let ends = run.ending.is_some() && path.undone().is_none();
        !ends && (step.status.is_open() || run.holds(path, step))
    });
    let coming =
        run.current_steps().into_iter().filter(|path| !run.steps.contains_key(path) && run.ending.is_none());
    let coming: Vec<StepPath> = coming.collect();
    let paths = steps.map(|(path, _)| path).chain(&coming);
    let may = paths.filter(|path| run.protocol.task(path).is_some_and(|task| may_pass(run, who, task)));
    let hint = "The run goes on without the step: it has no result.";
    let form = ActForm::new("skip", "Skip a step", hint, "Skip this step".to_owned());
    Some(form.with(choose(run, may)?).with_reason("Why is it skipped?"))
}

fn value(run: &Run) -> Option<ActForm> {
    if is_settled(run) {
        return None;
    }
    let hint = "Steps that begin from now on see the new value. Whatever was decided is asked again.";
    let mut path = text("path", "Which value?");
    path.hint = Some("Its name, for example license_id or applicant.name".to_owned());
    let mut value = text("value", "New value");
    value.hint = Some("A number, true, false, or text".to_owned());
    let form = ActForm::new("value", "Change a value", hint, "Change this value".to_owned());
    Some(form.with(path).with(value).with_reason("Why is it changed?"))
}

/// Open steps, and those that somebody must decide about; what cannot go on by itself first.
fn begun(run: &Run) -> impl Iterator<Item = (&StepPath, &Step)> {
    let held = plan::holding(run).filter_map(|path| Some((path, run.steps.get(path)?.as_ref())));
    held.chain(run.open_steps())
}

/// Passing over an approval is a decision, and so is passing over what has one inside.
fn may_pass(run: &Run, who: &Principal, task: &Task) -> bool {
    let inside = |protocol: &Protocol, id: &str| id == task.id || protocol.is_around(&task.id, id);
    let barred = |work: &Work| match work {
        Work::Hitl(hitl) => !approvers::may_pass(who, &hitl.approvers, hitl.four_eyes, &run.started_by),
        Work::Script(_) | Work::Agent(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => false,
    };
    if !task.is_group() {
        return !barred(&task.work);
    }
    !run.protocol.all().iter().any(|place| inside(&run.protocol, &place.task.id) && barred(&place.task.work))
}

/// The field that names a step. None: there is none to name.
fn choose<'a>(
    run: &Run,
    paths: impl Iterator<Item = &'a StepPath>,
) -> Option<crate::web::pages::forms::Field> {
    let paths: Vec<&StepPath> = paths.take(MOST_STEPS + 1).collect();
    if paths.is_empty() {
        return None;
    }
    if paths.len() > MOST_STEPS {
        let mut path = text("step", "Which step?");
        path.hint = Some(format!("Its path, for example {}", paths[0]));
        return Some(path);
    }
    let only = paths.len() == 1;
    let choices = paths.iter().map(|path| Choice::new(path.as_str(), plan::label(run, path), only));
    Some(one_of("step", "Which step?", choices.collect()))
}
