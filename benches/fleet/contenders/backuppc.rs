//! BackupPC 4, without its web server and its scheduler: its program that
//! dumps one host, as many at once as `backup` has jobs.
//!
//! Debian's packages are unpacked into a folder of the bench and not
//! installed, since that would set up a web server and start a daemon. The
//! paths that are written into BackupPC's Perl are replaced in a copy. A dump
//! asks the daemon whether it may begin; a thread here says yes.

use super::rsync::Floor;
use super::{Contender, Scene};
use crate::measure::{Order, program};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The packages: itself, and what it needs that Debian's perl does not bring.
const PACKAGES: [&str; 7] = [
    "backuppc",
    "backuppc-rsync",
    "libbackuppc-xs-perl",
    "libfile-listing-perl",
    "libhttp-date-perl",
    "libtimedate-perl",
    "libtime-parsedate-perl",
];
/// How long apt may take.
const PATIENCE: &str = "120";

/// BackupPC's dump.
pub struct BackupPc {
    scene: Scene,
    unpacked: PathBuf,
    run: PathBuf,
    compress: bool,
    runs: u32,
}

impl BackupPc {
    /// Over these hosts; fetches the packages if they are not there yet.
    pub fn new(scene: Scene, floor: &Floor) -> Result<Self> {
        let unpacked = unpack(&scene.packages)?;
        let compress = floor.arguments().any(|argument| argument == "--compress");
        let run = scene
            .runtime
            .join(format!("{}-run", scene.dir.file_name().unwrap_or_default().to_string_lossy()));
        super::remove(&run)?;
        fs::create_dir_all(&run)?;
        let daemon = UnixListener::bind(run.join("BackupPC.sock"))?;
        std::thread::spawn(move || daemon.incoming().flatten().for_each(say_yes));
        Ok(BackupPc { scene, unpacked, run, compress, runs: 0 })
    }

    fn install(&self) -> PathBuf {
        self.scene.dir.join("install")
    }

    /// Copies a folder of Perl, with other paths in it.
    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let (source, target) = {
                let entry = entry?;
                (entry.path(), to.join(entry.file_name()))
            };
            if source.is_dir() {
                self.copy(&source, &target)?;
                continue;
            }
            let Ok(text) = fs::read_to_string(&source) else { continue };
            let install = self.install();
            let unpacked = self.unpacked.display();
            let libraries = format!(
                "use lib (\"{}/lib\", glob(\"{unpacked}/usr/lib/*/perl5/*\"), \"{unpacked}/usr/share/perl5\");",
                install.display()
            );
            let text = text
                .replace("use lib \"/usr/share/backuppc/lib\";", &libraries)
                .replace("/usr/share/backuppc", &install.display().to_string())
                .replace("/etc/backuppc", &self.scene.dir.join("etc").display().to_string());
            fs::write(&target, text)?;
            fs::set_permissions(&target, source.metadata()?.permissions())?;
        }
        Ok(())
    }

    /// Its own arguments of rsync, and those of `backup` that say what is kept
    /// and how it is sent.
    fn configuration(&self) -> String {
        let dir = self.scene.dir.display();
        let ssh = self.scene.ssh_options().join(" ");
        let compress = if self.compress { "'--compress'" } else { "" };
        format!(
            "$Conf{{TopDir}} = '{dir}/top';\n$Conf{{ConfDir}} = '{dir}/etc';\n\
             $Conf{{InstallDir}} = '{install}';\n$Conf{{LogDir}} = '{dir}/log';\n\
             $Conf{{RunDir}} = '{run}';\n$Conf{{BackupPCUserVerify}} = 0;\n\
             $Conf{{BackupPCUser}} = 'root';\n$Conf{{XferMethod}} = 'rsync';\n$Conf{{CompressLevel}} = 0;\n\
             $Conf{{FullKeepCnt}} = 1000;\n$Conf{{IncrKeepCnt}} = 1000;\n$Conf{{PingCmd}} = '&{{sub {{0}}}}';\n\
             $Conf{{RsyncBackupPCPath}} = '{unpacked}/usr/libexec/backuppc-rsync/rsync_bpc';\n\
             $Conf{{RsyncSshArgs}} = ['-e', '/usr/bin/ssh {ssh} -l root'];\n\
             $Conf{{RsyncArgs}} = [grep {{ $_ ne '--one-file-system' }} @{{$Conf{{RsyncArgs}}}}];\n\
             $Conf{{RsyncArgsExtra}} = ['--acls', '--xattrs', {compress}];\n1;\n",
            install = self.install().display(),
            unpacked = self.unpacked.display(),
            run = self.run.display(),
        )
    }
}

impl Contender for BackupPc {
    fn begin(&mut self) -> Result<()> {
        self.scene.empty()?;
        let dir = &self.scene.dir;
        for folder in ["etc", "top/pc", "top/pool", "top/cpool", "log"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        self.copy(&self.unpacked.join("usr/share/backuppc/lib"), &self.install().join("lib"))?;
        self.copy(&self.unpacked.join("usr/share/backuppc/bin"), &self.install().join("bin"))?;
        let sample = fs::read_to_string(self.unpacked.join("etc/backuppc/config.pl.sample"))?;
        // A file of Perl ends with what it is worth.
        fs::write(dir.join("etc/config.pl"), sample + "\n" + &self.configuration())?;
        let mut hosts = String::from("host        dhcp    user    moreUsers\n");
        for target in &self.scene.targets {
            hosts.push_str(&format!("{} 0 root\n", target.name));
            let own = format!(
                "$Conf{{ClientNameAlias}} = '{}';\n$Conf{{RsyncShareName}} = ['{}'];\n1;\n",
                target.address,
                target.source.display()
            );
            fs::write(dir.join(format!("etc/{}.pl", target.name)), own)?;
        }
        fs::write(dir.join("etc/hosts"), hosts)?;
        self.runs = 0;
        Ok(())
    }

    fn order(&self) -> Result<Order> {
        // An incremental dump compares sizes and times, as rsync does.
        let how = if self.runs == 0 { "-f" } else { "-i" };
        let mut list = Vec::new();
        for target in &self.scene.targets {
            list.extend_from_slice(format!("{how}\0{}\0", target.name).as_bytes());
        }
        let file = self.scene.dir.join("list");
        fs::write(&file, list)?;
        let dump: OsString = self.install().join("bin/BackupPC_dump").into();
        Ok(self.scene.under_xargs(&file, 2, [dump]))
    }

    fn settle(&mut self, _started: f64) -> Result<Option<f64>> {
        self.runs += 1;
        for target in &self.scene.targets {
            let backups = self.scene.dir.join("top/pc").join(&target.name).join("backups");
            let text = fs::read_to_string(&backups).unwrap_or_default();
            let good = text
                .lines()
                .filter(|line| line.split('\t').nth(1).is_some_and(|kind| matches!(kind, "full" | "incr")));
            ensure!(good.count() >= self.runs as usize, "BackupPC made no copy of {}", target.name);
        }
        Ok(None)
    }

    fn clear(&mut self) -> Result<()> {
        super::remove(&self.scene.dir)
    }
}

/// Speaks for the daemon: a seed for its checksums first, then a line for each
/// line.
fn say_yes(dump: UnixStream) {
    std::thread::spawn(move || -> std::io::Result<()> {
        let mut answers = dump.try_clone()?;
        answers.write_all(b"seed\n")?;
        for line in BufReader::new(dump).lines() {
            // What is known of a host is read as Perl: nothing.
            let answer: &[u8] = if line?.contains(" status ") { b"1;\n" } else { b"ok\n" };
            answers.write_all(answer)?;
        }
        Ok(())
    });
}

/// Fetches and unpacks the packages, unless that was done before.
fn unpack(packages: &Path) -> Result<PathBuf> {
    let place = packages.join("backuppc");
    if place.join("usr/libexec/backuppc-rsync/rsync_bpc").is_file() {
        return Ok(place);
    }
    let fetched = packages.join("fetched");
    super::remove(&fetched)?;
    fs::create_dir_all(&fetched)?;
    // apt fetches as a user of its own, if that one may write here.
    fs::set_permissions(&fetched, fs::Permissions::from_mode(0o777))?;
    let run = |line: &[&str]| -> Result<()> {
        let output = program("timeout")
            .arg(PATIENCE)
            .args(line)
            .current_dir(&fetched)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", line[0]))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {}", line[0], said.trim());
        Ok(())
    };
    run(&[&["apt-get", "-qq", "download"], &PACKAGES[..]].concat())
        .context("Debian's packages of BackupPC cannot be fetched")?;
    let unpacking = packages.join("unpacking");
    super::remove(&unpacking)?;
    for entry in fs::read_dir(&fetched)? {
        let package = entry?.path();
        let words = [package.to_string_lossy(), unpacking.to_string_lossy()];
        run(&["dpkg-deb", "-x", &words[0], &words[1]])?;
    }
    super::remove(&place)?;
    fs::rename(&unpacking, &place)?;
    super::remove(&fetched)?;
    Ok(place)
}
