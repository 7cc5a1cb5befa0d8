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

/// Every task by its id. `paths`: where each is written, which its place in the lists does not tell (a branch of one
/// task may stand in brackets or not).
pub(super) fn places(tasks: &[Arc<Task>], mut paths: HashMap<String, String>) -> HashMap<String, Place> {
    let mut places = HashMap::with_capacity(paths.len());
    add(&mut places, &mut paths, tasks, None, 0, &[]);
    places
}

fn add(
    places: &mut HashMap<String, Place>,
    paths: &mut HashMap<String, String>,
    list: &[Arc<Task>],
    group: Option<&str>,
    branch: usize,
    items: &[String],
) {
    for (position, task) in list.iter().enumerate() {
        let place = Place {
            task: Arc::clone(task),
            group: group.map(str::to_owned),
            branch,
            position,
            last: position + 1 == list.len(),
            items: items.to_vec(),
            path: paths.remove(&task.id).unwrap_or_default(),
            order: places.len(),
        };
        places.insert(task.id.clone(), place);
        let Work::Parallel(parallel) = &task.work else { continue };
        let mut inside = items.to_vec();
        inside.extend(parallel.for_each.as_ref().map(|each| each.name.clone()));
        for (number, list) in parallel.branches.iter().enumerate() {
            add(places, paths, list, Some(&task.id), number, &inside);
        }
    }
}
