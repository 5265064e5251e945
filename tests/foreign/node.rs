//! Programs for Node, and what they say.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use servers::{Missing, Node};

/// A script of the folder `node` with the packages that `package.json` there names; `None` when `TIDEWIRE_TEST_WITHOUT`
/// names `node`, which is printed. Scripts are `.cjs` and `require` what they need.
///
/// # Panics
/// With one line, where there is no Node.
pub fn script(name: &str) -> Option<Command> {
    if servers::left_out("node") {
        println!("left out: programs for Node (TIDEWIRE_TEST_WITHOUT)");
        return None;
    }
    static NODE: OnceLock<Result<Node, Missing>> = OnceLock::new();
    let (package, lock) = (include_str!("node/package.json"), include_str!("node/package-lock.json"));
    match NODE.get_or_init(|| Node::with("foreign-node", package, lock)) {
        Ok(node) => Some(node.script(&Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/node").join(name))),
        Err(missing) => panic!("{missing}, or TIDEWIRE_TEST_WITHOUT=node to leave programs for Node out"),
    }
}
