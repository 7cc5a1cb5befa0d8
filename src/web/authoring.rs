//! Writing protocols, actions and agents, whichever door the author comes through.

mod sub_protocols;

pub use sub_protocols::Own;

use super::problem::{AppError, FieldError};
use super::site::{Site, Told};
use crate::actions::command::check_program;
use crate::actions::config::{check_action, check_agent};
use crate::auth::policy::{Permission, Principal, Resource, Role};
use crate::engine::protocol::{Approvers, Protocol, UsedAs};
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::protocols::{self, ProtocolRow};
use crate::store::registry::{self, COMPUTE, Registered, Snapshot};
use crate::store::schedules;
use crate::store::users;
use serde_json::{Value, json};

/// The two registries that a step may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    Actions,
    Agents,
}

/// Everything that is wrong with a definition; `base` is the JSON path of the document in what was sent. `own` tells
/// whether it would reach itself.
///
/// # Errors
/// When the database cannot be asked.
pub async fn check_definition(
    site: &Site,
    definition: &Value,
    base: &str,
    own: Own,
) -> Result<Vec<FieldError>, AppError> {
    let place = |path: &str| format!("{base}{}", path.strip_prefix('$').unwrap_or(path));
    let protocol = match Protocol::parse(definition) {
        Ok(protocol) => protocol,
        Err(problems) => {
            let mut found: Vec<(String, String)> =
                problems.into_iter().map(|problem| (problem.path, problem.message)).collect();
            // What can be read by itself is checked all the same, so that its author hears of everything at once.
            for (index, part) in readable_tasks(definition) {
                let own_path = format!("$.tasks[{index}]");
                let more = unknown_names(site, part).await?;
                found.extend(
                    more.into_iter()
                        .map(|(path, message)| (path.replacen("$.tasks[0]", &own_path, 1), message)),
                );
            }
            return Ok(found
                .into_iter()
                .map(|(path, message)| FieldError { path: place(&path), message })
                .collect());
        }
    };
    let scheduler = site.scheduler.clone();
    let whole = protocol.clone();
    let circles = move |connection: &mut Connection| {
        sub_protocols::problems(connection, scheduler.protocols(), own, &whole)
    };
    let mut found = unknown_names(site, protocol).await?;
    found.extend(site.read(circles).await?);
    Ok(found.into_iter().map(|(path, message)| FieldError { path: place(&path), message }).collect())
}

/// The tasks of the outermost list that are whole by themselves, each as a protocol of its own.
fn readable_tasks(definition: &Value) -> Vec<(usize, Protocol)> {
    const MOST: usize = 500;
    let tasks =
        definition.get("tasks").and_then(Value::as_array).into_iter().flatten().take(MOST).enumerate();
    tasks
        .filter_map(|(index, task)| Some((index, Protocol::parse(&json!({"tasks": [task]})).ok()?)))
        .collect()
}

/// Names of actions, agents and people that nobody has, each with its JSON path.
async fn unknown_names(site: &Site, protocol: Protocol) -> Result<Vec<(String, String)>, AppError> {
    let mut found = dangling(&*site.catalog().await?, &protocol);
    let nobody = |people: &Approvers| people.users.is_empty() && people.groups.is_empty();
    if protocol.approvers().iter().all(|(_, people)| nobody(people)) {
        return Ok(found);
    }
    let people = site.read(move |connection| {
        let mut found = Vec::new();
        for (path, people) in protocol.approvers() {
            let wrong = first_who_cannot_decide(connection, &people.users)?;
            found.extend(wrong.map(|message| (path.clone(), message)));
            for group in &people.groups {
                let wrong = why_no_group(connection, group)?;
                found.extend(wrong.map(|message| (path.clone(), message)));
            }
        }
        Ok(found)
    });
    found.extend(people.await?);
    Ok(found)
}

/// Actions and agents that are not registered, each with its JSON path.
fn dangling(catalog: &Snapshot, protocol: &Protocol) -> Vec<(String, String)> {
    let dangling = protocol.uses().into_iter().filter_map(|(path, used_as, name)| {
        let (noun, known) = match used_as {
            UsedAs::Action => ("action", catalog.action(name).is_some()),
            UsedAs::Agent => ("agent", catalog.agent(name).is_some()),
            UsedAs::Protocol => return None,
        };
        let message =
            format!("There is no {noun} `{name}`. Register it under {noun}s first, or name another.");
        (!known).then_some((path, message))
    });
    dangling.collect()
}

/// Why one of these users could never decide: an approval that names nobody else would wait for ever.
fn first_who_cannot_decide(
    connection: &mut Connection,
    names: &[String],
) -> Result<Option<String>, StoreError> {
    for name in names {
        let user = users::get(connection, name)?;
        let user = user.filter(|user| user.disabled_at.is_none());
        let Some(user) = user else {
            let message = format!(
                "There is no user `{name}` who can sign in. Name one who can, or the role `supervisor` or `admin`."
            );
            return Ok(Some(message));
        };
        if !Role::parse(&user.role).is_some_and(|role| role.may(Permission::Decide)) {
            let message = format!(
                "The user `{name}` is {} and may not decide. Name a supervisor or an admin.",
                user.role
            );
            return Ok(Some(message));
        }
    }
    Ok(None)
}

/// Why nobody of a group could ever decide. None: somebody can.
fn why_no_group(connection: &mut Connection, group: &str) -> Result<Option<String>, StoreError> {
    let members = users::in_group(connection, group)?;
    let decides = |role: &str| Role::parse(role).is_some_and(|role| role.may(Permission::Decide));
    if members.iter().any(|user| decides(&user.role)) {
        return Ok(None);
    }
    Ok(Some(if members.is_empty() {
        format!(
            "There is nobody in the group `{group}`. Put a supervisor or an admin into it, or name another."
        )
    } else {
        format!(
            "Nobody in the group `{group}` may decide. Put a supervisor or an admin into it, or name another."
        )
    }))
}

/// A new protocol.
///
/// # Errors
/// 403; 422 with everything that is wrong; 409 when the name is taken.
pub async fn create_protocol(
    site: &Site,
    who: &Principal,
    name: String,
    definition: Value,
) -> Result<ProtocolRow, AppError> {
    site.permit(who, Permission::WriteProtocols, Resource::Any).await?;
    let own = Own { id: None, name: Some(name.clone()) };
    refuse(check_definition(site, &definition, "$.definition", own).await?)?;
    let by = who.user.clone();
    let created = site.change(who, move |connection| {
        let row = protocols::create(connection, None, &name, &definition, &by)?;
        let detail = json!({"protocol": row.id, "name": row.name, "version": 1});
        Ok((row, Some(("protocol.created", detail))))
    });
    let created = created.await?;
    published(site).await?;
    Ok(created)
}

/// The next version of a protocol. `expected`: the version that the author saw.
///
/// # Errors
/// 403; 404; 412 when somebody else saved in between; 422 with everything that is wrong.
pub async fn save_protocol(
    site: &Site,
    who: &Principal,
    id: i64,
    expected: Option<i32>,
    name: Option<String>,
    definition: Value,
) -> Result<ProtocolRow, AppError> {
    site.permit(who, Permission::WriteProtocols, Resource::Any).await?;
    let own = Own { id: Some(id), name: name.clone() };
    refuse(check_definition(site, &definition, "$.definition", own).await?)?;
    let by = who.user.clone();
    let saved = site.change(who, move |connection| {
        let row = protocols::add_version(connection, id, expected, name.as_deref(), &definition, &by)?;
        let told = row.as_ref().map(|row| {
            let detail = json!({"protocol": row.id, "name": row.name, "version": row.latest_version});
            ("protocol.version_saved", detail)
        });
        Ok((row, told))
    });
    let saved = saved.await?.ok_or_else(|| AppError::NotFound(format!("There is no protocol {id}.")))?;
    published(site).await?;
    Ok(saved)
}

/// What follows from the latest versions, once they are committed: their schedules, and the names that others use.
async fn published(site: &Site) -> Result<(), AppError> {
    let scheduler = site.scheduler.clone();
    site.read(move |connection| {
        schedules::follow(connection, scheduler.protocols())?;
        scheduler.catalog.refresh(connection)
    })
    .await
}

/// A new action or agent.
///
/// # Errors
/// 403; 422; 409 when the name is taken.
pub async fn register(
    site: &Site,
    who: &Principal,
    registry: Registry,
    name: String,
    kind: String,
    config: Value,
) -> Result<Registered, AppError> {
    site.permit(who, Permission::WriteProtocols, Resource::Any).await?;
    refuse(check_config(site, registry, &name, &kind, &config))?;
    let by = who.user.clone();
    let saved = site.change(who, move |connection| {
        let saved = match registry {
            Registry::Actions => registry::actions::create(connection, &name, &kind, &config, &by)?,
            Registry::Agents => registry::agents::create(connection, &name, &kind, &config, &by)?,
        };
        let told = registered(registry, &saved);
        Ok((saved, Some(told)))
    });
    let saved = saved.await?;
    refresh_catalog(site).await?;
    Ok(saved)
}

/// The next version of an action or agent.
///
/// # Errors
/// 403; 404; 412; 422.
pub async fn change_registered(
    site: &Site,
    who: &Principal,
    registry: Registry,
    name: String,
    expected: Option<i32>,
    kind: String,
    config: Value,
) -> Result<Registered, AppError> {
    site.permit(who, Permission::WriteProtocols, Resource::Any).await?;
    refuse(check_config(site, registry, &name, &kind, &config))?;
    let (by, wanted) = (who.user.clone(), name.clone());
    let saved = site.change(who, move |connection| {
        let saved = match registry {
            Registry::Actions => registry::actions::update(connection, &name, expected, &kind, &config, &by)?,
            Registry::Agents => registry::agents::update(connection, &name, expected, &kind, &config, &by)?,
        };
        let told = saved.as_ref().map(|saved| registered(registry, saved));
        Ok((saved, told))
    });
    let saved = saved
        .await?
        .ok_or_else(|| AppError::NotFound(format!("There is nothing registered as `{wanted}`.")))?;
    refresh_catalog(site).await?;
    Ok(saved)
}

/// Only what is committed counts.
async fn refresh_catalog(site: &Site) -> Result<(), AppError> {
    let scheduler = site.scheduler.clone();
    site.read(move |connection| scheduler.catalog.refresh(connection)).await
}

fn registered(registry: Registry, saved: &Registered) -> Told {
    let type_name = match registry {
        Registry::Actions => "action.saved",
        Registry::Agents => "agent.saved",
    };
    // The configuration itself may name addresses and headers that not every reader of the log may see.
    let hash = hex::encode(crate::audit::leaf_hash(&crate::engine::json::canonical(
        &crate::engine::json::with_safe_integers(&saved.config),
    )));
    let detail =
        json!({"name": saved.name, "kind": saved.kind, "version": saved.version, "config_hash": hash});
    (type_name, detail)
}

fn check_config(site: &Site, registry: Registry, name: &str, kind: &str, config: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        let message = "A name has 1 to 100 letters, digits, `_` and `-`.".to_owned();
        errors.push(FieldError { path: "$.name".to_owned(), message });
    }
    if registry == Registry::Actions && name == COMPUTE {
        let message = "`compute` is built in. Choose another name.".to_owned();
        errors.push(FieldError { path: "$.name".to_owned(), message });
    }
    let problems = match registry {
        Registry::Actions => check_action(kind, config, Some(&site.guard)),
        Registry::Agents => check_agent(kind, config, Some(&site.guard)),
    };
    errors.extend(
        problems.into_iter().map(|problem| FieldError { path: problem.path, message: problem.message }),
    );
    if registry == Registry::Actions && kind == "command" {
        let refused = check_program(config, &site.programs);
        errors.extend(refused.map(|problem| FieldError { path: problem.path, message: problem.message }));
    }
    errors
}

fn refuse(errors: Vec<FieldError>) -> Result<(), AppError> {
    if errors.is_empty() { Ok(()) } else { Err(AppError::Unprocessable { errors }) }
}
