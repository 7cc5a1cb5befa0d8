//! `hms-act`: see [`hms_act::cli`].

fn main() -> std::process::ExitCode {
    hms_act::cli::run()
}
