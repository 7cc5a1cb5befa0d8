//! What something cost the machine: processor time and memory of the program and of Postgres, and what Postgres wrote.
//!
//! Read from `/proc`; where there is none, nothing is told.

use std::fs;

/// Bytes of a process that are in memory.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The most that a process ever had in memory, in bytes.
pub(super) fn most_resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

/// Seconds of processor time that a process and those it waited for have used.
pub(super) fn processor_seconds(pid: u32) -> Option<f64> {
    let ticks: u64 = stat(pid)?.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The same for a process and its children that live.
pub(super) fn processor_seconds_of_family(parent: u32) -> Option<f64> {
    let processes = fs::read_dir("/proc").ok()?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| stat(*pid).is_some_and(|fields| fields.get(1) == Some(&parent.to_string()));
    let children: f64 = pids.filter(is_child).filter_map(processor_seconds).sum();
    Some(processor_seconds(parent)? + children)
}

/// The fields after the name of the program, which may have blanks and brackets in it: the state is field 0.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
