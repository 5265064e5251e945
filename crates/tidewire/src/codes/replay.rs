//! Replays and projections.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "replay.invalid",
        "what is to be replayed makes no sense",
        "A position, time, type, key, name or combination of them cannot be meant: a type of which the log holds no event, a range for a projection (which is rebuilt from everything), effects of a file.",
        "The message names what is wrong. `tidewire replay plan --help` shows what can be asked for.",
    ),
    e(
        "replay.not_found",
        "there is no such plan or replay",
        "Plans are kept under their hash, the newest some hundred of them; replays are plans that were applied.",
        "`tidewire replay list` shows replays. Make the plan again: the same wish on the same log has the same hash until events are appended.",
    ),
    e(
        "replay.busy",
        "somebody replays to this target already",
        "Of two replays to one target only one goes on at a time, and a plan is applied once at a time: the second operator is refused and nothing is done twice.",
        "`tidewire replay list` shows who and how far. Wait for the end, or stop it with `tidewire replay stop`.",
    ),
    e(
        "replay.not_replayable",
        "events cannot be replayed to this handler",
        "It is a saga, a participant, or changes something outside that nobody could mute (an object store, an index, an endpoint); or it is a projection, which has to be rebuilt instead; or it does not say which collections it keeps, so that its rows cannot be put beside the live ones.",
        "The message says which. Rebuild projections with `tidewire projections rebuild`. A handler of your own declares its collections with `Consumer::keeping`.",
    ),
    e(
        "replay.retired",
        "the log no longer holds the beginning",
        "Events were removed with `tidewire log retire`. A projection rebuilt from what is left would lack what only they told.",
        "Restore the store from a backup made before, or keep the rows there are. Going back to the generation before (`tidewire projections rebuild NAME --rollback`) needs only the events since it was swapped.",
    ),
    e(
        "replay.outdated",
        "the plan is not of this build or this log",
        "Since the plan was made the handler began to read other types or versions, or the plan was made on another log. What it reported would no longer be what happens.",
        "Make the plan again with `tidewire replay plan`, read what it says now, and apply that one.",
    ),
    e(
        "replay.newer_version",
        "the plan has events that this build does not know",
        "Some of its events are of a newer version of their type than the handler of this build reads. Leaving them out would be a replay of something else.",
        "Apply the plan with the build that knows them, or plan without those types (`--type`).",
    ),
    e(
        "replay.unconfirmed",
        "effects are carried out again only if everybody says so",
        "A plan made with --with-effects lets effects, emitted events and timers become true: letters are sent again. It is applied only with --with-effects and a --reason, and a plan that mutes them only without.",
        "Repeat the command as the plan says, with `--with-effects --reason TEXT`; or make a plan without effects.",
    ),
    e(
        "replay.no_domains",
        "nothing here can publish under another domain",
        "The process that was asked runs no broker that could be opened under another domain.",
        "Ask an instance with the role gateway, or run the command where no instance runs, on the backends themselves.",
    ),
    e(
        "replay.no_previous",
        "there is no generation to go back to",
        "The projection was never rebuilt, or a rollback has begun and was given up: the generation before is kept by each swap, and only one.",
        "`tidewire projections list` shows which generation is kept. Rebuild it from the log instead.",
    ),
    e(
        "replay.superseded",
        "another rebuild of the projection has begun since",
        "The rebuild was stopped or failed, and somebody began a new one: what this one had built was given up.",
        "Follow the other one with `tidewire replay list`, or plan this one anew.",
    ),
    e(
        "replay.parked",
        "parked events are in the way of the swap",
        "The new generation is folded from the log, with the parked events in it. Swapped now, redriving them would count them twice.",
        "`tidewire parked list --consumer NAME` shows them. Redrive or drop them, then apply the plan again: it goes on where it stopped.",
    ),
    e(
        "replay.different",
        "what was compared differs",
        "Rows of the rebuilt generation differ from the live ones and --only-if-equal kept it from being swapped, or a handler does something else than what was recorded of it.",
        "The answer names the first differences. If they are meant, rebuild without --only-if-equal, or record anew with `tidewire replay record`.",
    ),
    e(
        "replay.stopped",
        "somebody stopped the replay",
        "It was stopped after the batch it was at. What was done is committed with the place reached.",
        "`tidewire replay apply HASH` goes on where it stopped; `tidewire replay list` shows how far it came.",
    ),
];
