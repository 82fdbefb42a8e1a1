//! The README's tour is true: each of its commands is run, and prints what it says.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::console::{Console, steps};
use crate::support::{CAROM, Ports};

#[test]
fn the_tour_of_the_readme_is_true() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let tour = readme.split("\n## ").find(|section| section.starts_with("Tour")).unwrap();
    let steps = steps(tour);
    let [start, steps @ ..] = &steps[..] else { panic!("the tour has no steps") };
    assert_eq!(start.command, "cargo run --release");
    assert!(steps.len() >= 4, "the tour shows too little: {steps:?}");

    let dir = tempfile::tempdir().unwrap();
    // What `cargo run --release` leaves, where the tour's later commands look for it.
    std::fs::create_dir_all(dir.path().join("target/release")).unwrap();
    std::os::unix::fs::symlink(CAROM, dir.path().join("target/release/carom")).unwrap();
    let mut console = Console::new(dir.path(), Ports::free());
    let server = console.bash("exec target/release/carom").stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Ends(server);
    let printed = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let printed: Vec<String> = printed.take(start.output.len()).map(Result::unwrap).collect();
    let printed: Vec<&str> = printed.iter().map(|line| line.trim_end()).collect();
    assert_eq!(console.compare(&start.output, &printed), Ok(()), "{printed:#?}");
    for step in steps {
        console.run(step);
    }
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
