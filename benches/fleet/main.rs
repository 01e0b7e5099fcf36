//! Measures `backup` beside what an operator would use instead, on the same
//! work: `make bench`, `make bench-quick`, or `cargo bench --bench fleet -- ROW…`.
//!
//! The hosts are real: each has an sshd, a host key and a loopback address of
//! its own. Everything runs in a process namespace and in a folder of its own,
//! both of which end with the bench, however that ends. Needs root.
//!
//! Every single measurement is kept as a line of JSON below `target/`;
//! `docs/benchmarks.md` is written from those lines.

mod bars;
mod contenders;
mod dead;
mod delay;
mod figures;
mod inside;
mod machine;
mod measure;
mod outside;
mod picture;
mod record;
mod render;
mod rig;
mod rows;
mod run;
mod trees;

use anyhow::Result;
use std::process::ExitCode;

fn main() -> ExitCode {
    match begin() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Does what this process was started for.
fn begin() -> Result<u8> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if std::path::Path::new(&name).file_name().is_some_and(|name| name == "rsync") {
        return contenders::recorder().map(|()| 0);
    }
    let first = std::env::args().nth(1).unwrap_or_default();
    let rest = words.skip(1);
    match first.as_str() {
        measure::WORD => measure::main(rest).map(|()| 0),
        contenders::ANCESTOR_WORD => contenders::ancestor_main(rest).map(|()| 0),
        delay::WORD => delay::main(rest).map(|()| 0),
        inside::WORD => inside::main(rest),
        _ => outside::main(),
    }
}
