//! Events that are refused or set aside for what they are.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "event.malformed",
        "not a CloudEvent",
        "The event is not valid JSON, lacks a required attribute, or an attribute has a form that the CloudEvents specification does not allow. It was refused before anything was written.",
        "The detail names the attribute. `id`, `source`, `type` and `specversion: \"1.0\"` are required; names of extensions are lower-case letters and digits. Correct the event and send it again with the same id.",
    ),
    e(
        "event.deviates",
        "an event that only tolerant readers take",
        "`tidewire events lint` found nothing that makes an event unreadable, but something that is not as the CloudEvents specification has it: capitals in a name, base64 of another alphabet, a number where text belongs. Tidewire's brokers read such events; the edge refuses most of them, and so do other strict readers.",
        "Each finding names its line and column, and what its writer should do instead. Correct the writer; a library that cannot be corrected is worth a report to those who keep it.",
    ),
    e(
        "event.unknown_type",
        "an event type nobody has declared",
        "The type is not in the catalogue. At the edge it is refused, because nothing could check it. A consumer that meets one parks it, because a later release may know it.",
        "The known types are the folders of schemas/; look for a typing error or a missing version (`user.followed.v1`). To add a type, add it to the catalogue in events/ with its schema in schemas/TYPE/v1.json. What is parked can then be redriven with `tidewire parked redrive`.",
    ),
    e(
        "event.reserved",
        "a type that only the house itself emits",
        "`operator.acted` is the record of who changed what by hand. It is written by the verbs of operators, in the same commit as what they change; one that anybody could send would prove nothing. Nothing was written.",
        "Use the verb itself (`tidewire parked redrive`, `sagas retry` and so on) with --reason. For a record of your own, add a type of your own to the catalogue.",
    ),
    e(
        "event.schema_invalid",
        "the data does not fit the schema of its type",
        "The data misses a field, has one of the wrong type, or breaks a bound of the JSON Schema published for this type and version. At the edge the event was refused, and nothing was written. A consumer that cannot read one, or has no way from its old version to the current one, parks it.",
        "The detail names each place as a JSON pointer. The schema is schemas/TYPE/vN.json, also served at /schemas/TYPE/vN.json. Published schemas are frozen: a new shape needs a new version.",
    ),
    e(
        "schema.breaks",
        "a change of a schema breaks somebody who relies on it",
        "`schemas check` compared two catalogues. A version that was published is gone or changed, or a new version cannot be understood by whoever must understand it under the chosen mode. Nothing was changed.",
        "Each line names the type, the versions, the place as a JSON pointer and the consumers it hits. Leave what is published as it is and make a new version, with an upcast from the last one. If nobody relies on it, say so with another --mode.",
    ),
    e(
        "schema.no_catalogue",
        "there is no catalogue where it was looked for",
        "The folder, git revision or URL cannot be read, or holds no `<type>/v<N>.json`.",
        "Name a folder such as `schemas`, `git:main` or `git:v1.2:schemas` inside the repository, or the URL of `/schemas` of an instance.",
    ),
    e(
        "schema.unknown",
        "no such type or version",
        "The catalogue that was looked at has no schema of this name and version. Nothing was compared.",
        "`tidewire schemas list` shows every type with its versions. Names are written without a version: `user.followed`.",
    ),
    e(
        "schema.unreadable",
        "something stored cannot be read by this build",
        "`schemas check --against log` read everything in the log and in the parking as a handler would. Some events are of a type or version that this build does not know, or do not fit its schema.",
        "Run the build that knows them, or give the type back with an upcast from the stored version. Until then consumers park such events; nothing is lost.",
    ),
    e(
        "event.too_large",
        "the event is larger than the limit",
        "With its attributes the event exceeds broker.max_event_bytes. Brokers have limits of their own and slow down far below them.",
        "Put the payload into the object store and send a reference in `dataref`. If a few are only a little larger, raise broker.max_event_bytes together with http.body_limit and consume.batch_bytes.",
    ),
    e(
        "event.newer_version",
        "an event of a version this build does not know",
        "A newer release wrote it. The key is parked, so that its order is kept, until a build that knows the version runs here. Nothing is dropped.",
        "Deploy the newer release of this consumer, then redrive with `tidewire parked redrive`. To avoid the wait, deploy consumers before producers.",
    ),
    e(
        "event.expired",
        "the event's time has passed",
        "`expirytime` lies in the past when the event arrives. It was refused and nothing was written, because the sender said that the event has no meaning after that time.",
        "If it should have been in time, compare the clocks of both machines: `date -u` here and there. Otherwise send it with a later `expirytime`, or without one.",
    ),
    e(
        "event.id_conflict",
        "the same id with different content",
        "An event with this source and id exists already and is not equal to this one. Ids make repeated sending safe, so two events must never share one.",
        "Give each event an id of its own, such as a UUIDv7, and repeat the same id only when you send the very same event again. `tidewire events show` prints the first one.",
    ),
    e(
        "event.key_mismatch",
        "the key is not the one the data gives",
        "The type decides which key an event belongs to, and `partitionkey` names another one. Two keys for the same thing would break its order.",
        "Leave `partitionkey` out: it is filled in. Otherwise send the one that the detail names.",
    ),
    e(
        "event.batch_refused",
        "a batch holds events that are refused",
        "At least one event of the batch is not acceptable, so none of it was taken: a batch is taken whole or not at all.",
        "The problem's `errors` name each of them by its index, with a code of its own. Correct or remove those and send the batch again, with the same ids.",
    ),
];
