//! A NetBox for demonstrations: serves the hosts of a JSON file on a free port
//! of the loopback interface, writes its URL to a file, and ends when its
//! standard input ends.
//!
//! Usage: `netbox_standin HOSTS.json URL-FILE`. The token is
//! `0123456789abcdef0123456789abcdef01234567`.

#[path = "../tests/support/netbox.rs"]
mod netbox;

use std::error::Error;
use std::io::{self, Read};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [hosts, url_file] = arguments.as_slice() else {
        return Err("usage: netbox_standin HOSTS.json URL-FILE".into());
    };
    let machines = serde_json::from_slice(&std::fs::read(hosts).map_err(|e| format!("{hosts}: {e}"))?)
        .map_err(|e| format!("{hosts}: {e}"))?;
    let server = netbox::StandIn::start(machines);
    // Renamed into place: whoever waits for the file finds it whole.
    let new = Path::new(url_file).with_extension("new");
    std::fs::write(&new, format!("{}\n", server.url()))?;
    std::fs::rename(&new, url_file)?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
