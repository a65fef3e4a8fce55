//! Fields that a route adds to what passes, and those that it takes away.
//!
//! Refused are fields that say where a message ends or what becomes of the connection: those are the server's own.
//! Invariant: names are tokens in lower case, and no value can end its line.

use std::collections::BTreeMap;

use fantail_engine::protocol::field;
use serde::{Deserialize, Serialize};

/// First `remove` is carried out, then `add`: a name in both is replaced.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize, Serialize)]
#[serde(try_from = "Table")]
pub struct FieldRules {
    /// Names and values. The values may be secrets; only their names are shown.
    #[serde(serialize_with = "show_names")]
    pub add: Vec<(String, String)>,
    /// Names.
    pub remove: Vec<String>,
}

/// The rules as they are written.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Table {
    add: BTreeMap<String, String>,
    remove: Vec<String>,
}

/// Fields that say where a message ends, or what becomes of the connection.
const OWN: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl TryFrom<Table> for FieldRules {
    type Error = RuleError;

    fn try_from(table: Table) -> Result<FieldRules, RuleError> {
        let name = |name: String| {
            let name = name.to_ascii_lowercase();
            match () {
                () if name.is_empty() || !name.bytes().all(field::is_token) => Err(RuleError::Name(name)),
                () if OWN.contains(&name.as_str()) => Err(RuleError::Own(name)),
                () => Ok(name),
            }
        };
        let remove = table.remove.into_iter().map(name).collect::<Result<_, _>>()?;
        let add = table.add.into_iter().map(|(given, value)| match value.bytes().all(field::is_text) {
            true => Ok((name(given)?, value)),
            false => Err(RuleError::Value(given)),
        });
        Ok(FieldRules { add: add.collect::<Result<_, _>>()?, remove })
    }
}

fn show_names<S: serde::Serializer>(add: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(add.iter().map(|(name, _)| name))
}

/// Why a rule is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RuleError {
    /// The name is no token.
    #[error("{0:?} isn't the name of a header")]
    Name(String),
    /// The server alone says how a message is framed.
    #[error("{0} is for the server alone to set or to remove")]
    Own(String),
    /// A value holds a control byte.
    #[error("the value of {0} holds a control byte")]
    Value(String),
}
