//! A connection that is lost and takes more than one try to come back.

use crate::support::rig::*;
use std::io::{BufRead, BufReader, Read};

#[test]
fn a_try_that_finds_the_host_still_away_is_not_the_last_one() {
    let mut rig = Rig::new();
    rig.host("Web");
    let begun = rig.join("begun");
    rig.hook("slow", &format!("touch {}\nsleep 1000", begun.display()));
    let mut child = rig.start(&["all"]);
    rig.wait_until("the hook has begun", || begun.exists());
    rig.sshd().stop();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("trying again (2 of 2)") {
        assert_ne!(said.read_line(&mut text).unwrap(), 0, "{text}");
    }
    rig.sshd().start_again();
    said.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    assert!(text.contains("trying again (1 of 2)"), "{text}");
    assert_eq!(rig.verdicts("web"), ["good"], "{text}");
}
