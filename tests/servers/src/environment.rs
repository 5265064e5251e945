//! What the environment says about servers.

/// Whether `TIDEWIRE_TEST_WITHOUT` names this server (`nats`, `postgres`, `kafka`): the test then prints so and
/// returns.
pub fn left_out(server: &str) -> bool {
    let named = |list: String| list.split(',').any(|name| name.trim().eq_ignore_ascii_case(server));
    variable("TIDEWIRE_TEST_WITHOUT").is_some_and(named)
}

/// What a variable of our own says, such as an existing server to use instead of starting one.
pub(crate) fn existing(variable_name: &str) -> Option<String> {
    variable(variable_name)
}

/// The search path for programs.
pub(crate) fn path() -> String {
    variable("PATH").unwrap_or_default()
}

#[allow(clippy::disallowed_methods)] // Tests have no configuration to ask.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
