//! `/approvals/{id}`: the evidence, and the decision.

use super::rows::approval_status;
use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::{Permission, Principal};
use crate::engine::command::Rejection;
use crate::engine::ids::{ApprovalId, StepPath};
use crate::engine::protocol::{Hitl, OnReject, Work};
use crate::engine::redact;
use crate::engine::state::{Choice, Payload, Run, RunStatus, StepStatus};
use crate::store::approvals::ApprovalRow;
use crate::web::acts;
use crate::web::pages::approval::{Answer, Approval, Decided, Evidence, Form as AnswerForm, Vote};
use crate::web::pages::forms::Problem;
use crate::web::pages::input_form::{self, Question};
use crate::web::pages::moment::Moment;
use crate::web::pages::plan::Known;
use crate::web::pages::{approvers, facts, plan};
use crate::web::problem::{AppError, FieldError};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::sync::Arc;

/// `GET /approvals/{id}`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    page(&Page::of(&visit, id(&path)?).await?.view(&visit, Typed::default()).await?)
}

/// `POST /approvals/{id}`.
///
/// # Errors
/// 403, 404. Who decides second sees who decided first, with 409.
pub async fn decide(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let asked = Page::of(&visit, id).await?;
    let mut typed = Typed::read(&sent, asked.questions());
    let (choice, form) = match (typed.choice(), typed.form.take()) {
        (Some(choice), form) if typed.problems.is_empty() => (choice, form),
        _ => {
            let view = asked.view(&visit, typed).await?;
            return page_with(StatusCode::UNPROCESSABLE_ENTITY, &view);
        }
    };
    let reason = Some(typed.reason.clone());
    match acts::decide(&visit.site, &visit.who, id, choice, reason, form.map(Value::Object)).await {
        Ok(run) => {
            visit.notice(true, done(&run, id, choice));
            Ok(see_other(&format!("/approvals/{id}")))
        }
        Err(AppError::Unprocessable { errors }) => {
            errors.into_iter().for_each(|error| typed.add(error));
            page_with(StatusCode::UNPROCESSABLE_ENTITY, &asked.view(&visit, typed).await?)
        }
        Err(AppError::Conflict { detail, .. }) => {
            typed.problems = vec![Problem::at_field("", detail)];
            page_with(StatusCode::CONFLICT, &Page::of(&visit, id).await?.view(&visit, typed).await?)
        }
        Err(error) => Err(error),
    }
}

/// What the page says after a decision.
fn done(run: &Run, id: i64, choice: Choice) -> &'static str {
    let voted = run.approval(ApprovalId(id)).is_some_and(|(_, _, approval)| approval.decision.is_none());
    match choice {
        Choice::Approve if voted => "Your approval is recorded. Others must approve too.",
        Choice::Return => "The work is sent back.",
        Choice::Approve | Choice::Reject => "Your decision is recorded.",
    }
}

/// What came with the form, and what is wrong with it.
#[derive(Debug, Default)]
struct Typed {
    decision: String,
    reason: String,
    /// The fields of the task's form, with what was filled in.
    questions: Vec<Question>,
    /// None: nothing was to be filled in, or something is wrong with it.
    form: Option<Payload>,
    problems: Vec<Problem>,
}

impl Typed {
    fn read(sent: &Sent, mut questions: Vec<Question>) -> Typed {
        let (decision, reason) = (sent.text("decision"), sent.text("reason"));
        let form = input_form::read(&mut questions, |name| sent.raw(name)).filter(|_| !questions.is_empty());
        let mut typed = Typed { decision, reason, questions, form, problems: Vec::new() };
        let choice = typed.choice();
        if choice.is_none() {
            typed.problems.push(Problem::at_field("approve", "Choose what you decide."));
        }
        let missing = match choice {
            Some(Choice::Return) => "Write down what should be changed.",
            Some(Choice::Approve | Choice::Reject) | None => "Write down why you decide so.",
        };
        if let Some(message) = reason_problem(&typed.reason, missing) {
            typed.problems.push(Problem::at_field("reason", message));
        }
        // Only what is approved needs the form.
        if choice == Some(Choice::Approve) {
            let wrong = typed.questions.iter().filter_map(|question| {
                Some(Problem::at_field(question.field.id(), question.field.error.clone()?))
            });
            typed.problems.extend(wrong);
        } else {
            typed.questions.iter_mut().for_each(|question| question.field.error = None);
            typed.form = None;
        }
        typed
    }

    fn choice(&self) -> Option<Choice> {
        let choices = [Choice::Approve, Choice::Reject, Choice::Return];
        choices.into_iter().find(|choice| choice.as_str() == self.decision)
    }

    /// Puts what the engine or the schema says at the field that it is about.
    fn add(&mut self, error: FieldError) {
        let place = error.path.trim_start_matches("$.");
        let message = approvers::capital(&error.message);
        let key = place.strip_prefix("form.").and_then(|rest| rest.split('.').next());
        let question = self.questions.iter_mut().find(|question| Some(question.key.as_str()) == key);
        self.problems.push(match (question, place) {
            (Some(question), _) => {
                question.field.error = Some(message.clone());
                Problem::at_field(question.field.id(), format!("{}: {message}", question.field.label))
            }
            (None, "decision") => Problem::at_field("approve", message),
            (None, "reason") => Problem::at_field("reason", message),
            (None, place) => Problem::at_place("", place, message),
        });
    }
}

/// An approval and its run.
struct Page {
    row: ApprovalRow,
    run: Arc<Run>,
}

impl Page {
    async fn of(visit: &Visit, id: i64) -> Result<Page, AppError> {
        let row = acts::read_approval(&visit.site, &visit.who, id).await?;
        let run = acts::read_run(&visit.site, &visit.who, row.run_id).await?;
        Ok(Page { row, run })
    }

    /// The task that asks.
    fn hitl(&self) -> Option<&Hitl> {
        match &self.run.protocol.task(&StepPath::from_log(&self.row.step))?.work {
            Work::Hitl(hitl) => Some(hitl),
            Work::Script(_) | Work::Agent(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => None,
        }
    }

    fn questions(&self) -> Vec<Question> {
        let questions = input_form::questions(self.hitl().and_then(|hitl| hitl.form.as_ref()));
        let mut questions = questions.unwrap_or_default();
        for question in &mut questions {
            // The form has fields of its own of these names.
            if ["reason", "decision"].contains(&question.field.name.as_str()) {
                question.field.name = format!("input-{}", question.field.name);
            }
        }
        questions
    }

    /// The step that the work may be sent back to.
    fn returns_to(&self) -> Option<String> {
        let path = StepPath::from_log(&self.row.step);
        let (hitl, step) = (self.hitl()?, self.run.steps.get(&path)?);
        let returns = self.run.returns.get(&path.in_round(1)).copied().unwrap_or(0);
        let place = self.run.protocol.place(hitl.returns_to.as_deref()?)?;
        (returns < hitl.max_returns && !step.reopened).then(|| place.task.label())
    }

    /// Whether the viewer's approval still counts.
    fn counts(&self, who: &Principal) -> bool {
        approvers::not_needed(who, &self.row).is_none()
    }

    fn form(&self, who: &Principal, typed: &Typed) -> AnswerForm {
        let missing = usize::try_from(self.row.quorum).unwrap_or(1).saturating_sub(self.row.voters().count());
        let goes_on = self.hitl().is_some_and(|hitl| hitl.on_reject == OnReject::Continue);
        let questions = if typed.questions.is_empty() { self.questions() } else { typed.questions.clone() };
        AnswerForm {
            decision: typed.decision.clone(),
            reason: typed.reason.clone(),
            returns_to: self.returns_to(),
            approve: self.counts(who).then(|| match missing {
                0 | 1 => "the run goes on".to_owned(),
                2 => "one more person must approve too".to_owned(),
                more => format!("{} more people must approve too", more - 1),
            }),
            reject: if goes_on { "the run goes on, and knows of it" } else { "the run stops here" }
                .to_owned(),
            fields: questions.into_iter().map(|question| question.field).collect(),
        }
    }

    /// Where the decision stands. None: the viewer may decide.
    fn answer(&self, who: &Principal) -> Option<Answer> {
        let row = &self.row;
        if let (Some(by), Some(at)) = (&row.decided_by, row.decided_at) {
            return Some(Answer::Decided(Decided {
                status: approval_status(row),
                by: by.clone(),
                at: Moment::new(at),
                reason: row.reason.clone().unwrap_or_else(|| "No reason was given.".to_owned()),
                form: row.form.as_ref().map(facts::short).unwrap_or_default(),
            }));
        }
        if row.status != "pending" {
            return Some(Answer::Withdrawn(self.withdrawn()));
        }
        if row.voters().any(|by| by == who.user) {
            return Some(Answer::Barred(Rejection::VotedBefore.to_string()));
        }
        if self.run.status == RunStatus::Paused {
            let why =
                "The run is paused, so nothing is decided in it now. As soon as it goes on, you can decide.";
            return Some(Answer::Barred(why.to_owned()));
        }
        let why = approvers::bar(who, &row.approvers(), row.four_eyes, &row.run_starter)?;
        let others = approvers::who_may(&row.approvers(), false, &row.run_starter);
        Some(Answer::Barred(if why == others { why } else { format!("{why} {others}") }))
    }

    /// Why nobody needs to decide it any more.
    fn withdrawn(&self) -> String {
        let path = StepPath::from_log(&self.row.step);
        let step = self.run.steps.get(&path);
        let another =
            step.and_then(|step| step.approval.as_ref()).filter(|approval| approval.id.0 != self.row.id);
        if another.is_some() {
            return "A value was changed, so this was asked again: the new question is on the run's page."
                .to_owned();
        }
        match step.map(|step| step.status) {
            Some(StepStatus::Skipped) => "The step was skipped before anybody decided.".to_owned(),
            _ if self.run.status.is_final() => {
                let sentence = plan::sentence(&self.run, &Known::default());
                format!("The run ended before anybody decided. {sentence}")
            }
            _ => "It was not needed any more before anybody decided.".to_owned(),
        }
    }

    /// What there is to know about the question itself.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.row.status == "approved" {
            notes.extend(approvers::slots_in_words(&self.row.approvers(), &self.row.filled()));
        }
        let path = StepPath::from_log(&self.row.step);
        if let Some((step, approval)) =
            self.run.steps.get(&path).and_then(|step| Some((step, step.approval.as_ref()?)))
            && approval.id.0 == self.row.id
        {
            notes.extend(plan::asked_again(&self.run, &path, step));
            if approval.decision.is_none() {
                notes.extend(plan::so_far(approval));
            }
        }
        if let Some(at) = self.row.escalated_at {
            let at = Moment::new(at).text;
            notes.push(format!("Nobody decided in time, so more people may decide since {at}."));
        }
        if let Some(at) = self.row.reminded_at {
            notes.push(format!("Whoever may decide was last reminded at {}.", Moment::new(at).text));
        }
        notes
    }

    async fn view(self, visit: &Visit, typed: Typed) -> Result<Approval, AppError> {
        let (mut notes, answer) = (self.notes(), self.answer(&visit.who));
        let not_needed = approvers::not_needed(&visit.who, &self.row).filter(|_| answer.is_none());
        notes.extend(
            not_needed
                .map(|why| format!("{why} You may still reject it, if you see that it must not go on.")),
        );
        let answer = answer.unwrap_or_else(|| Answer::Open(self.form(&visit.who, &typed)));
        let Page { row, run } = self;
        let found = plan::evidence(&run, &StepPath::from_log(&row.step));
        let sealed = redact::is_marked(&run) && visit.may(Permission::ReadSealed);
        let others = found.others.into_iter().map(|(title, facts)| Evidence { title, facts });
        Ok(Approval {
            chrome: visit.chrome(&row.title, "/approvals").await?,
            id: row.id.to_string(),
            status: approval_status(&row),
            run_number: row.run_id.to_string(),
            run_href: format!("/runs/{}", row.run_id),
            protocol: row.protocol_name.clone(),
            started_by: row.run_starter.clone(),
            opened: Moment::new(row.opened_at),
            due: row.due_at.map(Moment::new),
            overdue: row.status == "pending" && row.due_at.is_some_and(|due| due < Utc::now()),
            problems: typed.problems,
            assessment: found.assessment,
            application: found.application,
            letter: found.letter,
            evidence: others.collect(),
            sealed_href: sealed.then(|| format!("/runs/{}/sealed", row.run_id)),
            notes,
            votes: votes(&row),
            answer,
            title: row.title,
        })
    }
}

/// Who approved so far, while more are needed.
fn votes(row: &ApprovalRow) -> Vec<Vote> {
    let filled = row.filled();
    let votes = row.votes.as_array().into_iter().flatten().filter(|_| row.status == "pending");
    let vote = |vote: &Value| {
        let text = |key: &str| vote[key].as_str().unwrap_or_default().to_owned();
        let at = DateTime::parse_from_rfc3339(vote["at"].as_str()?).ok()?;
        let form = if vote["form"].is_null() { Vec::new() } else { facts::short(&vote["form"]) };
        let slot = filled.iter().find(|filled| vote["by"] == filled.by.as_str());
        let slot = slot.map(|filled| filled.slot.clone());
        Some(Vote { by: text("by"), slot, at: Moment::new(at.to_utc()), reason: text("reason"), form })
    };
    votes.filter_map(vote).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_and_reason_are_both_needed() {
        let problems = |body: &str| {
            let typed = Typed::read(&Sent::form(body.as_bytes()).expect("a form"), Vec::new());
            typed.problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        };
        assert_eq!(problems(""), ["approve", "reason"]);
        assert_eq!(problems("decision=later&reason=x"), ["approve"]);
        assert!(problems("decision=return&reason=the+address").is_empty());
        assert_eq!(problems("decision=approve&reason=+%0D%0A"), ["reason"]);
        assert!(problems("decision=reject&reason=no").is_empty());
        assert_eq!(problems(&format!("decision=reject&reason={}", "x".repeat(4001))), ["reason"]);
    }

    #[test]
    fn only_what_is_approved_needs_the_form() {
        let schema =
            serde_json::json!({"properties": {"amount": {"type": "integer"}}, "required": ["amount"]});
        let typed = |body: &str| {
            let questions = input_form::questions(Some(&schema)).expect("fields");
            Typed::read(&Sent::form(body.as_bytes()).expect("a form"), questions)
        };
        let wrong = typed("decision=approve&reason=x");
        assert_eq!(wrong.problems.len(), 1, "the amount is missing");
        assert_eq!(wrong.problems[0].field, "field-amount");
        assert!(typed("decision=reject&reason=x").problems.is_empty());
        let right = typed("decision=approve&reason=x&amount=5");
        assert_eq!(right.form.map(Value::Object), Some(serde_json::json!({"amount": 5})));
    }
}
