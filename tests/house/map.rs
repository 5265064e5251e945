//! The map is true: what the documents name exists.

use std::path::Path;

/// Every `path/like/this` in backticks that starts with a room of the house.
fn paths(text: &str) -> Vec<String> {
    let rooms = ["crates/", "services/", "events/", "examples/", "schemas/", "tests/", "infra/", ".ci/", ".github/"];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|words| rooms.iter().any(|room| words.starts_with(room)))
        .filter(|words| !words.contains(['*', '<', ' ', '{', '…']))
        .map(|words| words.split(['#', ':']).next().unwrap_or_default().to_owned())
        .collect()
}

fn check(document: &str, at_least: usize) {
    let top = super::top();
    let text = std::fs::read_to_string(top.join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
    let named = paths(&text);
    let count = named.len() + links(&text).len();
    assert!(count >= at_least, "{document} names only {count} paths");
    let missing: Vec<&String> = named.iter().filter(|path| !top.join(path).exists()).collect();
    assert!(missing.is_empty(), "{document} names what does not exist: {missing:?}");
    for link in links(&text) {
        let target = top.join(document).parent().expect("a folder").join(&link);
        assert!(target.exists(), "{document} links to {link}, which does not exist");
    }
}

/// Relative targets of Markdown links.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#') && !target.contains(' '))
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .filter(|target| !target.is_empty())
        .collect()
}

#[test]
fn the_documents_name_only_what_exists() {
    check("crates/tidewire/docs/architecture.md", 20);
    check("crates/tidewire/docs/decisions.md", 0);
    check("crates/tidewire/docs/backends.md", 2);
    check("crates/tidewire/docs/sql.md", 0);
    check("crates/tidewire/docs/push.md", 0);
    check("README.md", 3);
    check(".github/CONTRIBUTING.md", 5);
}

#[test]
fn every_room_is_on_the_map() {
    let map = std::fs::read_to_string(super::top().join("crates/tidewire/docs/architecture.md")).expect("the map");
    let modules = std::fs::read_dir(super::top().join("crates/tidewire/src")).expect("the facade");
    for entry in modules.flatten() {
        let path = entry.path();
        if path.is_dir() {
            let inside = path.strip_prefix(super::top()).map(Path::to_path_buf).expect("inside");
            assert!(map.contains(inside.to_str().expect("UTF-8")), "{} is not on the map", inside.display());
        }
    }
}
