//! The rules that hold for the whole repository and that no compiler checks: what a crate must
//! never depend on, licences, where things may stand, how long a file may be.
//!
//! A rule is a pure function from files or packages to complaints, each naming the file and the
//! rule; its test shows that it can fail. One test then runs all of them over the real repository:
//! over what git tracks or would add, so that they need a git checkout.

mod dependencies;
mod source;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A file of the repository; the path is relative to its root.
struct File {
    path: String,
    text: String,
}

/// What is wrong, in one line that begins with the file or the crate.
type Complaints = Vec<String>;

const MAX_LINES: usize = 600;

/// All that stands at the top, but for dotfiles.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md", "Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md",
    "benches", "control", "deploy", "docs", "edge", "loadtest", "shared",
];

fn top_level(paths: &[&str]) -> Complaints {
    let first = |path: &&str| path.split('/').next().unwrap_or_default().to_owned();
    let found: BTreeSet<String> =
        paths.iter().map(first).filter(|name| !name.starts_with('.')).collect();
    let expected: BTreeSet<String> = TOP_LEVEL.iter().map(|name| (*name).to_owned()).collect();
    let extra = found.difference(&expected);
    let missing = expected.difference(&found);
    extra
        .map(|name| format!("{name}: does not belong to the repository's top level"))
        .chain(missing.map(|name| format!("{name}: is missing from the repository's top level")))
        .collect()
}

fn module_files(paths: &[&str]) -> Complaints {
    let mods = paths.iter().filter(|path| path.ends_with("/mod.rs"));
    mods.map(|path| format!("{path}: a module is foo.rs beside foo/, never foo/mod.rs")).collect()
}

fn file_lengths(files: &[File]) -> Complaints {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.filter_map(|File { path, text }| {
        let lines = text.lines().count();
        let complaint = || format!("{path}: has {lines} lines; the limit is {MAX_LINES}, cut it");
        (lines > MAX_LINES).then(complaint)
    })
    .collect()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = Command::new(program).args(arguments).current_dir(root).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} failed: {message}");
    String::from_utf8(output.stdout).expect("the programs asked here print UTF-8")
}

/// Every text file that is tracked or would be; a deleted one that git still lists is left out.
fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = run("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let paths: BTreeSet<_> = list.split_terminator('\0').collect();
    let read = |path: &str| {
        let bytes = std::fs::read(root.join(path)).ok()?;
        // Of a file that is no text, only the path matters here.
        Some(File { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() })
    };
    paths.into_iter().filter_map(read).collect()
}

#[test]
fn the_repository_is_tidy() {
    let files = repository();
    let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    let mut complaints = top_level(&paths);
    complaints.extend(module_files(&paths));
    complaints.extend(file_lengths(&files));
    complaints.extend(source::check(&files));
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn dependencies_are_tidy() {
    let version = run("rustc", &["--version", "--verbose"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.expect("rustc names its host");
    // For this platform only: crates of others need not be on this machine.
    let metadata = run(
        env!("CARGO"),
        &["metadata", "--format-version=1", "--locked", "--filter-platform", host],
    );
    let metadata = serde_json::from_str(&metadata).expect("cargo prints JSON");
    let tree = ["tree", "--locked", "--package=carom-edge", "--edges=normal", "--target", host];
    let edge = run(env!("CARGO"), &[&tree[..], &["--prefix=none", "--no-dedupe"]].concat());
    let mut complaints = dependencies::check(&metadata);
    complaints.extend(dependencies::edge_is_lean(&edge));
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_level_is_exact() {
        let mut paths: Vec<_> = TOP_LEVEL.to_vec();
        paths.extend([".gitignore", "docs/a.md", "edge/src/lib.rs"]);
        assert!(top_level(&paths).is_empty());
        paths.retain(|path| *path != "README.md");
        paths.push("notes/a.md");
        let expected = [
            "notes: does not belong to the repository's top level",
            "README.md: is missing from the repository's top level",
        ];
        assert_eq!(top_level(&paths), expected);
    }

    #[test]
    fn mod_rs_is_refused() {
        assert_eq!(module_files(&["edge/src/a/mod.rs", "edge/src/mod.rs"]).len(), 2);
        assert!(module_files(&["edge/src/a.rs", "edge/src/a_mod.rs"]).is_empty());
    }

    #[test]
    fn long_files_are_refused() {
        let file = |path: &str, lines| File { path: path.into(), text: "x\n".repeat(lines) };
        assert!(file_lengths(&[file("a.rs", MAX_LINES), file("a.md", 1000)]).is_empty());
        assert_eq!(file_lengths(&[file("a.rs", MAX_LINES + 1)]).len(), 1);
    }
}
