//! `verify`: an old system and a projection, key by key.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::VerifyArgs;
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::legacy::{Mapping, Rows};
use crate::output::Output;
use crate::output::text::{count, printable};
use crate::session::Session;

/// Rows of the projection asked for at once.
const PAGE: &str = "500";
/// The most rows of the old system that are compared: they are held in memory, some 200 bytes each.
const MAX_ROWS: usize = 2_000_000;
/// Keys shown to people, of each kind; scripts get all.
const SHOWN: usize = 20;

/// What the comparison found.
#[derive(Default)]
struct Found {
    legacy: u64,
    projection: u64,
    equal: u64,
    /// Over all rows of a side, in any order.
    hashes: [u128; 2],
    different: Vec<Value>,
    only_legacy: Vec<String>,
    only_projection: Vec<String>,
    /// Rows of the old system that the mapping can make nothing of.
    unmapped: Vec<Value>,
}

/// Reads both sides and prints; fails with 6 where they differ.
pub async fn run(client: &Client, session: &Session, args: &VerifyArgs, output: &mut Output) -> Result<(), Failure> {
    let mapping = Mapping::read(&args.mapping, session)?;
    let Some(verify) = &mapping.verify else {
        return Err(Failure::new(
            Exit::Invalid,
            "import.mapping",
            format!("{}: it has no [verify]", args.mapping.display()),
        ));
    };
    let mut found = Found::default();
    let mut expected: HashMap<String, Value> = HashMap::new();
    let mut rows = Rows::open(&mapping, &Value::Null).await?;
    while let Some(next) = rows.next().await {
        let (place, row) = next?;
        found.legacy += 1;
        let (id, value) = match verify.expected(&row) {
            Ok(expected) => expected,
            Err(why) => {
                found.unmapped.push(json!({ "row": place, "reason": why }));
                continue;
            }
        };
        found.hashes[0] ^= hash(&id, &value);
        expected.insert(id, value);
        if expected.len() > MAX_ROWS {
            let message = format!(
                "more than {} rows; compare them in parts, each with a query of its own",
                count(MAX_ROWS as u64)
            );
            return Err(Failure::new(Exit::Invalid, "import.mapping", message));
        }
    }
    let mut cursor: Option<String> = None;
    loop {
        let target = with_query(
            &path(&["v1", "collections", &verify.collection]),
            &[("limit", Some(PAGE)), ("cursor", cursor.as_deref())],
        );
        let page = client.get(&target).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            let id = item["id"].as_str().unwrap_or_default().to_owned();
            let value = verify.compared(&item["value"]);
            found.projection += 1;
            found.hashes[1] ^= hash(&id, &value);
            match expected.remove(&id) {
                None => found.only_projection.push(id),
                Some(legacy) if legacy == value => found.equal += 1,
                Some(legacy) => found.different.push(json!({ "id": id, "legacy": legacy, "projection": value })),
            }
        }
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    found.only_legacy = expected.into_keys().collect();
    found.only_legacy.sort_unstable();
    found.tell(output)
}

fn hash(id: &str, value: &Value) -> u128 {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, json!([id, value]).to_string().as_bytes()).as_u128()
}

impl Found {
    fn keys(&self) -> u64 {
        self.equal
            + (self.different.len() + self.only_legacy.len() + self.only_projection.len() + self.unmapped.len()) as u64
    }

    /// Of all keys of both sides, those that are equal. Never rounded up to 100.
    fn percent(&self) -> f64 {
        match self.keys() {
            0 => 100.0,
            keys if keys == self.equal => 100.0,
            keys => (self.equal as f64 * 100.0 / keys as f64 * 1_000.0).floor().min(99_999.0) / 1_000.0,
        }
    }

    fn tell(&self, output: &mut Output) -> Result<(), Failure> {
        let told = json!({
            "legacy": { "rows": self.legacy, "hash": format!("{:032x}", self.hashes[0]) },
            "projection": { "rows": self.projection, "hash": format!("{:032x}", self.hashes[1]) },
            "equal": self.equal, "percent": self.percent(), "different": self.different,
            "only_legacy": self.only_legacy, "only_projection": self.only_projection,
            "unmapped": self.unmapped,
        });
        output.thing(&told, &["/percent"], |_| self.people())?;
        let differ = self.keys() - self.equal;
        match differ {
            0 => Ok(()),
            _ => Err(Failure::new(
                Exit::Findings,
                "verify.different",
                format!("{} of {} keys differ", count(differ), count(self.keys())),
            )),
        }
    }

    fn people(&self) -> String {
        let mut lines = vec![
            format!("old system  {:>12} rows  {:032x}", count(self.legacy), self.hashes[0]),
            format!("projection  {:>12} rows  {:032x}", count(self.projection), self.hashes[1]),
            format!("equal       {:>12}       {:.3} %", count(self.equal), self.percent()),
        ];
        let mut some = |title: &str, keys: Vec<String>| {
            if !keys.is_empty() {
                lines.push(format!("\n{title}: {}", count(keys.len() as u64)));
                lines.extend(keys.iter().take(SHOWN).map(|key| format!("  {}", printable(key))));
                if keys.len() > SHOWN {
                    lines.push("  …  (-o json shows all)".into());
                }
            }
        };
        let text = |row: &Value| {
            format!("{}  {} here {}", row["id"].as_str().unwrap_or_default(), row["legacy"], row["projection"])
        };
        some("different", self.different.iter().map(text).collect());
        some("only in the old system", self.only_legacy.clone());
        some("only in the projection", self.only_projection.clone());
        let bad = |row: &Value| format!("row {}: {}", row["row"], row["reason"].as_str().unwrap_or_default());
        some("not to be mapped", self.unmapped.iter().map(bad).collect());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_never_rounded_up_to_all() {
        let found =
            |equal, different: usize| Found { equal, different: vec![Value::Null; different], ..Found::default() };
        assert_eq!(found(0, 0).percent(), 100.0);
        assert_eq!(found(10, 0).percent(), 100.0);
        assert_eq!(found(3, 1).percent(), 75.0);
        assert_eq!(found(10_000_000, 1).percent(), 99.999);
    }

    #[test]
    fn the_hash_does_not_depend_on_the_order() {
        let (a, b) = (hash("1", &json!({"n": 1})), hash("2", &json!({"n": 2})));
        assert_eq!(a ^ b, b ^ a);
        assert_ne!(a, hash("1", &json!({"n": 2})));
    }
}
