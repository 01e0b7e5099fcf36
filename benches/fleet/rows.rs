//! The rows of the bench: which work, by whom, how often. Pure.

/// The connect timeout in rows with dead hosts, in seconds.
pub const CONNECT_TIMEOUT: u32 = 5;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is no copy yet.
    First,
    /// The last copy is as the host is.
    Unchanged,
    /// One file of a hundred has other contents.
    Changed,
}

impl Phase {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Phase::First => "first",
            Phase::Unchanged => "unchanged",
            Phase::Changed => "changed",
        }
    }

    /// Its name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Phase::First => "first copy",
            Phase::Unchanged => "nothing changed",
            Phase::Changed => "1 % changed",
        }
    }
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// `backup`.
    Backup,
    /// rsync under `xargs`: the floor.
    Rsync,
    /// rsnapshot under `xargs`.
    Rsnapshot,
    /// The way of the Python program that `backup` follows.
    Ancestor,
    /// BackupPC's dump under `xargs`.
    BackupPc,
    /// `backup` over the last host alone, in a row with a big one.
    BackupBigAlone,
    /// `backup` over all hosts and two dead ones.
    BackupAmongDead,
    /// Another `backup`, that of `--before`, over the same hosts.
    BackupBefore,
}

impl Who {
    /// The name in records and tables.
    pub fn name(self) -> &'static str {
        match self {
            Who::Backup => "backup",
            Who::Rsync => "rsync",
            Who::Rsnapshot => "rsnapshot",
            Who::Ancestor => "ancestor's way",
            Who::BackupPc => "BackupPC",
            Who::BackupBigAlone => "backup, big host alone",
            Who::BackupAmongDead => "backup, 2 more dead",
            Who::BackupBefore => "backup before",
        }
    }

    /// Whether it is `backup`, whose own memory is of interest.
    pub fn is_ours(self) -> bool {
        matches!(self, Who::Backup | Who::BackupBigAlone | Who::BackupAmongDead | Who::BackupBefore)
    }
}

/// A phase of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What is to be done.
    pub phase: Phase,
    /// How often it is measured, after a warm-up.
    pub runs: u32,
}

/// Some work, and who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name on the command line and in records.
    pub name: &'static str,
    /// How many hosts.
    pub hosts: usize,
    /// How many files each has.
    pub files: u64,
    /// How many the last one has, the name of which is the last in every
    /// alphabet.
    pub last_files: u64,
    /// How many are copied at once.
    pub jobs: usize,
    /// Milliseconds that a round trip takes longer than it would.
    pub round_trip: u64,
    /// How fast a host may send, but for its first copy, as rsync's `--bwlimit`
    /// has it; the same for all contenders.
    pub bandwidth: Option<&'static str>,
    /// The phases, in this order.
    pub parts: &'static [Part],
    /// The contenders.
    pub who: &'static [Who],
    /// Contenders that are too slow to be measured more than once, without a
    /// warm-up.
    pub once: &'static [Who],
    /// Whether the programs that each starts are counted.
    pub programs: bool,
    /// Whether it is one of the quick ones.
    pub quick: bool,
    /// The longest that one run may take, in seconds.
    pub limit: u64,
}

const fn part(phase: Phase, runs: u32) -> Part {
    Part { phase, runs }
}

const PEERS: &[Who] = &[Who::Backup, Who::Rsync, Who::Rsnapshot, Who::BackupPc, Who::Ancestor];

/// What most rows are like.
const ROW: Row = Row {
    name: "",
    hosts: 1,
    files: 1000,
    last_files: 1000,
    jobs: 1,
    round_trip: 0,
    bandwidth: None,
    parts: &[part(Phase::Unchanged, 5)],
    who: PEERS,
    once: &[],
    programs: true,
    quick: false,
    limit: 600,
};

const ALL_PHASES: &[Part] = &[part(Phase::First, 5), part(Phase::Unchanged, 5), part(Phase::Changed, 5)];

/// Every row, the quick ones first.
pub const ROWS: &[Row] = &[
    Row {
        name: "quick-one",
        files: 2000,
        last_files: 2000,
        who: &[Who::Backup, Who::Rsync, Who::Rsnapshot, Who::BackupPc],
        quick: true,
        ..ROW
    },
    Row {
        name: "quick-ten",
        hosts: 10,
        files: 200,
        last_files: 200,
        jobs: 4,
        parts: &[part(Phase::First, 1), part(Phase::Unchanged, 3), part(Phase::Changed, 1)],
        once: &[Who::Ancestor],
        quick: true,
        ..ROW
    },
    Row {
        name: "quick-delayed",
        hosts: 40,
        files: 100,
        last_files: 100,
        jobs: 16,
        round_trip: 25,
        parts: &[part(Phase::Unchanged, 3)],
        who: &[Who::Backup, Who::Rsync, Who::Rsnapshot],
        programs: false,
        quick: true,
        ..ROW
    },
    Row {
        name: "quick-big",
        hosts: 20,
        files: 500,
        last_files: 5000,
        jobs: 4,
        bandwidth: Some("8k"),
        parts: &[part(Phase::Unchanged, 1)],
        who: &[Who::Backup, Who::BackupBigAlone, Who::Rsync],
        programs: false,
        quick: true,
        ..ROW
    },
    Row {
        name: "quick-dead",
        hosts: 40,
        files: 50,
        last_files: 50,
        jobs: 8,
        parts: &[part(Phase::Unchanged, 3)],
        who: &[Who::Backup, Who::BackupAmongDead],
        programs: false,
        quick: true,
        ..ROW
    },
    Row { name: "1x1000", parts: ALL_PHASES, ..ROW },
    Row { name: "1x10000", files: 10_000, last_files: 10_000, parts: ALL_PHASES, ..ROW },
    Row {
        name: "1x100000",
        files: 100_000,
        last_files: 100_000,
        parts: &[part(Phase::Unchanged, 5), part(Phase::Changed, 5)],
        once: &[Who::BackupPc, Who::Ancestor],
        ..ROW
    },
    Row { name: "10x1000", hosts: 10, jobs: 4, parts: ALL_PHASES, ..ROW },
    Row {
        name: "50x10000",
        hosts: 50,
        files: 10_000,
        last_files: 10_000,
        jobs: 4,
        who: &[Who::Backup, Who::Rsync, Who::Rsnapshot, Who::Ancestor],
        once: &[Who::Ancestor],
        programs: false,
        ..ROW
    },
    Row {
        name: "200x1000-delayed",
        hosts: 200,
        jobs: 16,
        round_trip: 25,
        who: &[Who::Backup, Who::Rsync, Who::Rsnapshot, Who::Ancestor],
        once: &[Who::Ancestor],
        limit: 1800,
        programs: false,
        ..ROW
    },
    Row {
        name: "big-host",
        hosts: 20,
        files: 5000,
        last_files: 50_000,
        jobs: 4,
        who: &[Who::Backup, Who::BackupBigAlone, Who::Rsync, Who::Rsnapshot],
        programs: false,
        ..ROW
    },
    Row {
        name: "big-host-far",
        hosts: 20,
        files: 5000,
        last_files: 50_000,
        jobs: 4,
        bandwidth: Some("32k"),
        who: &[Who::Backup, Who::BackupBigAlone, Who::Rsync],
        programs: false,
        ..ROW
    },
    Row {
        name: "dead-hosts",
        hosts: 198,
        jobs: 16,
        who: &[Who::Backup, Who::BackupAmongDead],
        programs: false,
        ..ROW
    },
    Row {
        name: "1x1000000",
        files: 1_000_000,
        last_files: 1_000_000,
        who: &[Who::Backup, Who::Rsync],
        once: &[Who::Rsync],
        programs: false,
        limit: 1800,
        ..ROW
    },
];

/// The row of a name.
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

impl Row {
    /// How many files a host has.
    pub fn files_of(&self, number: usize) -> u64 {
        if number + 1 == self.hosts { self.last_files } else { self.files }
    }

    /// Whether one host is larger than the others.
    pub fn has_big_host(&self) -> bool {
        self.last_files > self.files
    }

    /// The name of a host. The last one's is the last in every alphabet.
    pub fn host(&self, number: usize) -> String {
        if number + 1 == self.hosts && self.has_big_host() {
            "zz-big".to_owned()
        } else {
            format!("h{number:03}")
        }
    }

    /// What it is, in words.
    pub fn title(&self) -> String {
        use super::figures::grouped;
        let hosts = match self.hosts {
            1 => "1 host".to_owned(),
            count => format!("{count} hosts"),
        };
        let mut title = if self.has_big_host() {
            format!(
                "{} hosts of {} files and one of {}",
                self.hosts - 1,
                grouped(self.files),
                grouped(self.last_files)
            )
        } else {
            format!("{hosts} of {} files", grouped(self.files))
        };
        if self.who.contains(&Who::BackupAmongDead) {
            title.push_str(", without and with two more that are dead");
        }
        if self.hosts > 1 {
            title.push_str(&format!(", {} at once", self.jobs));
        }
        if let Some(bandwidth) = self.bandwidth {
            title.push_str(&format!(", each sending at most {bandwidth} a second"));
        }
        if self.round_trip > 0 {
            title.push_str(&format!(", {} ms of added round trip time", self.round_trip));
        }
        title
    }
}
