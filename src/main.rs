//! `hms-act`: see [`hms_act::cli`].

/// Entries are made on one thread and let go on another, over which glibc's allocator spends a fifth of the time
/// waiting for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hms_act::cli::run()
}
