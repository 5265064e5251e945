//! One word per idea: the ones we do not use are not used.

use std::process::Command;

/// In names of our own: types, functions, files. Third parties call their things as they like.
const UNWANTED: [&str; 4] = ["Manager", "Processor", "dead_letter", "DeadLetter"];

#[test]
fn our_names_keep_to_our_words() {
    let listed = Command::new("git").args(["ls-files", "*.rs"]).current_dir(super::top()).output().expect("git runs");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let mut found = Vec::new();
    for path in listed.lines().filter(|path| !path.ends_with("house/words.rs")) {
        let Ok(text) = std::fs::read_to_string(super::top().join(path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let defines = ["struct ", "enum ", "trait ", "fn ", "mod ", "type "].iter().any(|word| line.contains(word));
            if defines && UNWANTED.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Nothing that is committed may depend on the machine it was written on.
#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let listed = Command::new("git").args(["ls-files"]).current_dir(super::top()).output().expect("git runs");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let needles = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    let mut found = Vec::new();
    for path in listed.lines() {
        let Ok(text) = std::fs::read_to_string(super::top().join(path)) else { continue };
        if needles.iter().any(|needle| text.contains(needle.as_str())) {
            found.push(path);
        }
    }
    assert!(found.is_empty(), "paths of one machine in {found:?}");
}
