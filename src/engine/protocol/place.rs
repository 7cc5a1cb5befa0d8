//! Where each task stands in its protocol.

use super::{Task, Work};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub task: Arc<Task>,
    /// Id of the group whose branch it is in. None: the outermost list.
    pub group: Option<String>,
    /// Which branch of the group.
    pub branch: usize,
    /// Where in its list, from 0.
    pub position: usize,
    /// It is the last of its list.
    pub last: bool,
    /// Names that its expressions see beside `payload`: the items of the `for_each`es around it.
    pub items: Vec<String>,
    /// JSON path into the document.
    pub path: String,
    /// Its rank in the document.
    pub order: usize,
}

/// Every task by its id.
pub(super) fn places(tasks: &[Arc<Task>]) -> HashMap<String, Place> {
    let mut places = HashMap::new();
    let outermost =
        tasks.iter().enumerate().map(|(index, task)| (format!("$.tasks[{index}]"), task)).collect();
    add(&mut places, outermost, None, 0, &[]);
    places
}

fn add(
    places: &mut HashMap<String, Place>,
    list: Vec<(String, &Arc<Task>)>,
    group: Option<&str>,
    branch: usize,
    items: &[String],
) {
    let length = list.len();
    for (position, (path, task)) in list.into_iter().enumerate() {
        let place = Place {
            task: Arc::clone(task),
            group: group.map(str::to_owned),
            branch,
            position,
            last: position + 1 == length,
            items: items.to_vec(),
            path: path.clone(),
            order: places.len(),
        };
        places.insert(task.id.clone(), place);
        let Work::Parallel(parallel) = &task.work else { continue };
        let mut inside = items.to_vec();
        inside.extend(parallel.for_each.as_ref().map(|each| each.name.clone()));
        for (number, list) in parallel.branches.iter().enumerate() {
            // A branch of one task is written without brackets; all tasks of a `for_each` are one branch.
            let path_of = |index: usize| match (&parallel.for_each, list.len()) {
                (Some(_), _) => format!("{path}.tasks[{index}]"),
                (None, 1) => format!("{path}.tasks[{number}]"),
                (None, _) => format!("{path}.tasks[{number}][{index}]"),
            };
            let list = list.iter().enumerate().map(|(index, task)| (path_of(index), task)).collect();
            add(places, list, Some(&task.id), number, &inside);
        }
    }
}
