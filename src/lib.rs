//! `backup`: a ZFS-backed pull backup server for fleets of Linux hosts.
//!
//! The map of the modules; dependencies point downwards only, and
//! `tests/layers.rs` holds them to it.
//!
//! | module | what it knows |
//! |---|---|
//! | [`cli`] | the command line; one file a subcommand |
//! | [`fleet`] | many hosts: order, concurrency, shutdown |
//! | [`backup`] | the story of one host, from lock to report |
//! | [`verify`] | the story of one host's verification |
//! | **core** | **pure: no I/O, no clock** |
//! | [`clock`] | the time of a run, read once |
//! | [`host`] | names and settings of hosts |
//! | [`settings`] | what the operator wants, already checked |
//! | [`snapshot`] | names, facts and verdicts of snapshots |
//! | [`retention`] | which snapshots to keep, and why |
//! | [`filter`] | excludes and mounts in, rsync filter rules out |
//! | [`guard`] | what a plausible run looks like |
//! | [`outcome`] | what became of a host; severity; exit code |
//! | [`past`] | what is remembered of runs |
//! | [`trend`] | whether a run's figures are what they usually are |
//! | [`table`] | tables of text |
//! | [`text`] | text from elsewhere, made safe to print |
//! | [`verification`] | what a verification found, and how bad that is |
//! | **edges** | **each talks to one thing outside** |
//! | [`config`] | TOML to [`settings::Settings`], every fault at once |
//! | [`process`] | the only place that starts programs |
//! | [`https`] | HTTP clients: what they trust, what their failures mean |
//! | [`inventory`] | NetBox, and the last good list |
//! | [`lock`] | one run a host; the runtime directory |
//! | [`remote`] | ssh, or this machine itself |
//! | [`transfer`] | rsync |
//! | [`store`] | ZFS, or directories with hard links |
//! | [`report`] | Icinga, Prometheus |
//! | [`history`] | SQLite: what ran, when, how it went |
//! | [`logging`] | stderr, syslog |

pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod filter;
pub mod fleet;
pub mod guard;
pub mod history;
pub mod host;
pub mod https;
pub mod inventory;
pub mod lock;
pub mod logging;
pub mod outcome;
pub mod past;
pub mod process;
pub mod remote;
pub mod report;
pub mod retention;
pub mod settings;
pub mod snapshot;
pub mod store;
pub mod table;
pub mod text;
pub mod transfer;
pub mod trend;
pub mod verification;
pub mod verify;
