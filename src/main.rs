//! The program: arguments, clock, exit code. All else is in the library.

use backup::cli;
use backup::sys::clock::Clock;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the one reading of the wall clock")]
    let now = chrono::Utc::now();
    cli::main(Clock::starting_at(now))
}
