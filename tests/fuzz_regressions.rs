//! The inputs that fuzzing found or started from keep their properties.
//!
//! `scripts/fuzz.sh` runs the targets; each counterexample goes to
//! `tests/fuzz/seeds/TARGET/` under a name that says what it was.

#[path = "fuzz/properties.rs"]
mod properties;

use std::{fs, path::Path};

#[track_caller]
fn check_seeds(target: &str, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/seeds")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&directory).expect("the seeds are there") {
        let path = entry.expect("an entry").path();
        let input = fs::read(&path).expect("a seed can be read");
        println!("{}", path.display());
        property(&input);
        // The same input cut short is another input.
        for end in 0..input.len().min(300) {
            property(&input[..end]);
        }
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", directory.display());
}

#[test]
fn records_keep_their_properties() {
    check_seeds("record", properties::record);
}

#[test]
fn http_keeps_its_properties() {
    check_seeds("http", properties::http);
}

#[test]
fn json_keeps_its_properties() {
    check_seeds("json", properties::json);
}

#[test]
fn the_api_keeps_its_properties() {
    check_seeds("api", properties::api);
}
