//! Refusals at start, before anything was touched.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "config.unknown_key",
        "a key that does not exist",
        "The configuration file or a flag sets a key that Tidewire does not know. Unknown keys are refused, because a typing error would otherwise leave the default in force without anybody noticing.",
        "Use the key named in the hint. `tidewire config show` lists every key with its value; infra/tidewire.toml explains each one.",
    ),
    e(
        "config.unknown_variable",
        "a TIDEWIRE_ variable that does not exist",
        "An environment variable begins with TIDEWIRE_ but names no key. Keys are TIDEWIRE_SECTION__KEY with two underscores, besides a few documented short names such as TIDEWIRE_STORE_URL.",
        "Correct or unset the variable. infra/tidewire.toml names the variables of each key. Variables that Kubernetes sets for a service, and those beginning with TIDEWIRE_TEST_, are left alone.",
    ),
    e(
        "config.invalid_value",
        "a value that does not fit its key",
        "The value has the wrong form: a duration or a size without its unit, text where a number belongs, an address without a port, a URL without its scheme, or an unknown word.",
        "Write what the problem says was expected. Durations look like 250ms, 30s or 7d, sizes like 64KiB or 16MiB. An empty variable is a value too: unset it for the default. Then run `tidewire config check`.",
    ),
    e(
        "config.out_of_range",
        "a number beyond its bounds",
        "The value has the right form but lies outside what is accepted. Bounds keep a process from starting with a limit of zero, or with one that would take all memory.",
        "Choose a value within the bounds that the problem names; infra/tidewire.toml says what each one limits. Then run `tidewire config check`.",
    ),
    e(
        "config.inconsistent",
        "values that contradict each other",
        "Each value is fine alone, but together they would lose time or repeat work: for example an acknowledgement wait shorter than two handler timeouts delivers an event again while it is still being handled.",
        "The problem names both values, where each came from, and the reason. Change either one, then run `tidewire config check`.",
    ),
    e(
        "config.schema",
        "a schema file that cannot be a contract",
        "The folder that schemas.dir names holds the contracts of other services' events. One of its files is no JSON, no JSON Schema of the dialect 2020-12, refers to another document (nothing is ever fetched), has a name that no event can have, or says something else about a type of this build than the build does. Nothing starts: what the schema was meant to refuse would get into the log.",
        "The problem names the file and the place in it. Correct it, then run `tidewire config check`. To start without any of them, set schemas.dir to an empty text.",
    ),
    e(
        "config.conflict",
        "two variables for the same key",
        "The same key is set by two environment variables with different values, for example TIDEWIRE_STORE_URL and TIDEWIRE_STORE__URL, or a secret both directly and through _FILE. Tidewire does not guess which one was meant.",
        "Unset all but one of the variables named in the problem. `tidewire config show` prints the value that remains and where it came from.",
    ),
    e(
        "config.not_utf8",
        "a variable that is not UTF-8",
        "An environment variable of Tidewire holds bytes that are not UTF-8 text, often because a file was pasted in another encoding.",
        "Set the variable again as UTF-8 text, or write the value into tidewire.toml. Then run `tidewire config check`.",
    ),
    e(
        "config.file_missing",
        "the configuration file is not there",
        "A file was named by --config or TIDEWIRE_CONFIG and does not exist. A file that was named must exist; only the default places may be empty.",
        "Correct the path. To run on defaults and environment alone, leave out --config and unset TIDEWIRE_CONFIG, or give --no-config.",
    ),
    e(
        "config.file_unreadable",
        "the configuration file cannot be read",
        "The file exists but is a folder, is larger than 1 MiB, is not UTF-8, or this user may not read it.",
        "Check it with `ls -l FILE` and `file FILE`. The user that runs Tidewire needs read permission for the file and for every folder above it.",
    ),
    e(
        "config.file_malformed",
        "the configuration file is not TOML",
        "The file breaks the rules of TOML: a missing quote, a key given twice, or a line that is no assignment. The problem names the line. The line itself is not printed, because it may hold a password.",
        "Correct the line. Text stands in quotes, numbers and true/false do not. Compare with infra/tidewire.toml, then run `tidewire config check`.",
    ),
    e(
        "config.secret_missing",
        "a secret file is not there",
        "A variable ending in _FILE, or a key ending in _file, names a file that does not exist. In a container the secret is often not mounted, or mounted under another name.",
        "Create the file with only the secret in it and close it to others: `install -m 600 /dev/stdin FILE`. In Compose check `secrets:`, in Kubernetes the volume's `mountPath` and key.",
    ),
    e(
        "config.secret_unreadable",
        "a secret file cannot be read",
        "The file exists but is not a regular file, is larger than 64 KiB, is not UTF-8 text, or this user may not read it.",
        "Check it with `ls -l FILE`. The user that runs Tidewire must be its owner or in its group, with mode 600 or 640.",
    ),
    e(
        "config.secret_empty",
        "a secret file is empty",
        "The file holds nothing but white space. An empty password would either be refused later with a less clear error, or be accepted, which is worse.",
        "Write the secret into the file, or unset the variable that names it. One line end at the end of the file is ignored.",
    ),
    e(
        "config.secret_exposed",
        "a secret that others on this machine can read",
        "A secret file, or a configuration file that holds a password, is readable by every user of the machine.",
        "Run `chmod 600 FILE`, owned by the user that runs Tidewire. In Kubernetes set `defaultMode: 0440` on the secret volume together with `fsGroup`. Change the secret if others may have seen it.",
    ),
    e(
        "config.secret_placeholder",
        "a secret that is still a placeholder",
        "The value is `changeme` or one of its kind, as templates carry it. Everybody knows it.",
        "Set a secret of your own, for instance from `openssl rand -base64 32`, on both sides. Keep it in a file and name that file with the _FILE variable.",
    ),
    e(
        "config.secret_on_command_line",
        "a password on the command line",
        "A flag holds a URL with a password. Command lines are visible to every user of the machine and end up in shell histories and process listings.",
        "Put the URL into a file with mode 600 and name that file in the environment: TIDEWIRE_STORE_URL_FILE=FILE, and likewise for the broker, objects and mail. Change the password if others may have seen it.",
    ),
    e(
        "listen.remote_without_auth",
        "listening beyond this machine without authentication",
        "The listening address can be reached from other machines, and callers are not authenticated: anybody who reaches the port could append events and read documents. Tidewire refuses to start like that.",
        "Listen on 127.0.0.1 behind a proxy that authenticates. In a closed network, such as a container network that publishes the port to loopback only, set `http.allow_remote = true` or TIDEWIRE_HTTP__ALLOW_REMOTE=true.",
    ),
    e(
        "listen.address_in_use",
        "another process has the port",
        "The listening address is taken, usually by another Tidewire or by one that has not finished its shutdown.",
        "Find it with `ss -ltnp | grep 4500` and stop it, or choose another port: `tidewire up --listen 127.0.0.1:4501`. Port 0 takes a free one and prints it.",
    ),
    e(
        "role.single_process",
        "this role cannot run alone on embedded backends",
        "`sqlite:` and `embedded:` belong to one process. A role that runs by itself shares the log and the broker with the other roles, which needs a server for both.",
        "Run every role in one process with `tidewire up`, or set TIDEWIRE_STORE_URL=postgres://… and TIDEWIRE_BROKER_URL=nats://… (or kafka://…) for all of them.",
    ),
    e(
        "backend.unsupported",
        "this build has no support for the backend",
        "The URL is well formed, but the binary was built without the feature that speaks to this kind of server.",
        "Use a build with the feature (`postgres`, `nats`, `kafka`), or one of the embedded backends: TIDEWIRE_STORE_URL=sqlite: and TIDEWIRE_BROKER_URL=embedded:.",
    ),
];
