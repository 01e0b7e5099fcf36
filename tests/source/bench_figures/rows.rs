use crate::bench_figures::rows::*;

#[test]
fn rows_have_names_of_their_own_and_can_be_found() {
    for wanted in ROWS {
        assert_eq!(row(wanted.name), Some(wanted), "two rows are called {}", wanted.name);
        assert!(wanted.once.iter().all(|who| wanted.who.contains(who)), "{}", wanted.name);
        assert!(wanted.who.contains(&Who::Backup), "{}", wanted.name);
    }
    assert_eq!(row("nonsense"), None);
}

#[test]
fn every_full_row_is_measured_five_times() {
    for row in ROWS.iter().filter(|row| !row.quick) {
        assert!(row.parts.iter().all(|part| part.runs >= 5), "{}", row.name);
    }
}

#[test]
fn the_big_host_is_the_last_in_the_alphabet() {
    let row = row("big-host").unwrap();
    let names: Vec<String> = (0..row.hosts).map(|number| row.host(number)).collect();
    assert!(names.is_sorted());
    assert_eq!(row.files_of(19), 10 * row.files_of(18));
}

#[test]
fn titles_say_what_is_special() {
    let title = |name| row(name).unwrap().title();
    assert_eq!(title("1x1000000"), "1 host of 1,000,000 files");
    assert_eq!(
        title("200x1000-delayed"),
        "200 hosts of 1,000 files, 16 at once, 25 ms of added round trip time"
    );
    assert_eq!(title("big-host"), "19 hosts of 5,000 files and one of 50,000, 4 at once");
}
