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
//! | [`turn`] | whose turn it is, and who is made ready before its turn |
//! | **core** | **pure: no I/O, no clock** |
//! | [`clock`] | the time of a run, read once |
//! | [`host`] | names and settings of hosts |
//! | [`settings`] | what the operator wants, already checked |
//! | [`snapshot`] | names, facts and verdicts of snapshots |
//! | [`entry`] | what an entry of a directory is; whether two are one file |
//! | [`difference`] | what is different between two copies of a path |
//! | [`versions`] | the versions of a file over snapshots |
//! | [`pattern`] | what an operator types to name files |
//! | [`retention`] | which snapshots to keep, and why |
//! | [`rotation`] | what becomes of a host's snapshots, for all who ask |
//! | [`filter`] | excludes and mounts in, rsync filter rules out |
//! | [`guard`] | what a plausible run looks like |
//! | [`namesake`] | what a host's own name tells of it |
//! | [`outcome`] | what became of a host; severity; exit code |
//! | [`rsync_build`] | what an rsync is: version, abilities, package |
//! | [`precision`] | to what times are kept and compared |
//! | [`plot`] | figures over time as pictures |
//! | [`status`] | how a host is doing |
//! | [`problem`] | what is wrong, how bad it is, what to do |
//! | [`past`] | what is remembered of runs |
//! | [`trace`] | a run as a trace for Chrome and Perfetto |
//! | [`trend`] | whether a run's figures are what they usually are |
//! | [`excerpt`] | the first few of what others may repeat without end |
//! | [`finding`] | what a check found, and what to do |
//! | [`growth`] | how fast a store fills |
//! | [`table`] | tables of text |
//! | [`timing`] | where the time of a run goes |
//! | [`text`] | text from elsewhere, made safe to print |
//! | [`when`] | what people say of a time |
//! | [`verification`] | what a verification found, and how bad that is |
//! | **edges** | **each talks to one thing outside** |
//! | [`config`] | TOML to [`settings::Settings`], every fault at once |
//! | [`process`] | the only place that starts programs |
//! | [`offload`] | work that must not hold up the thread that serves all hosts |
//! | [`https`] | HTTP clients: what they trust, what their failures mean |
//! | [`inventory`] | NetBox, and the last good list |
//! | [`lock`] | one run a host; the runtime directory |
//! | [`remote`] | ssh, or this machine itself |
//! | [`transfer`] | rsync |
//! | [`store`] | ZFS, or directories with hard links |
//! | [`tree`] | trees of files on disk: searched, compared |
//! | [`report`] | Icinga, Prometheus |
//! | [`history`] | SQLite: what ran, when, how it went |
//! | [`tools`] | the programs of this machine, and their versions |
//! | [`logging`] | stderr, syslog |

pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod difference;
pub mod entry;
pub mod excerpt;
pub mod filter;
pub mod finding;
pub mod fleet;
pub mod growth;
pub mod guard;
pub mod history;
pub mod host;
pub mod https;
pub mod inventory;
pub mod lock;
pub mod logging;
pub mod namesake;
pub mod offload;
pub mod outcome;
pub mod past;
pub mod pattern;
pub mod plot;
pub mod precision;
pub mod problem;
pub mod process;
pub mod remote;
pub mod report;
pub mod retention;
pub mod rotation;
pub mod rsync_build;
pub mod settings;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod table;
pub mod text;
pub mod timing;
pub mod tools;
pub mod trace;
pub mod transfer;
pub mod tree;
pub mod trend;
pub mod turn;
pub mod verification;
pub mod verify;
pub mod versions;
pub mod when;
