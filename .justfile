# Short names for what one types often; every one is plain cargo or a script of the repository.

# The list of these names.
default:
    @just --list

# Formats the code.
fmt:
    cargo fmt --all

# Lints the code and its documentation.
lint:
    ./deploy/test lint

# Runs the tests that need no server.
test:
    cargo test --workspace

# Everything a change has to pass.
check:
    ./.ci/run

# Starts Carom on its defaults.
run *arguments:
    cargo run --release -- {{ arguments }}

# Measures the hot paths.
bench *arguments:
    cargo bench --package carom-benches {{ arguments }}

# Advisories, licences and duplicates; needs cargo-deny.
deny:
    cargo deny --config .deny.toml check
