//! Failures of commands on the operator's own side.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "doctor.findings",
        "the doctor found something",
        "At least one rule of `tidewire doctor` found something wrong with the installation. Nothing was changed.",
        "Each finding names what was seen and what to do. Critical ones hurt now, or at the next ordinary failure; run it again afterwards.",
    ),
    e(
        "command.usage",
        "the command line makes no sense",
        "A command, an option or a value is unknown, missing, or does not fit with the others. Nothing was done.",
        "`tidewire COMMAND --help` shows every option and an example. Exit code 2 always means this.",
    ),
    e(
        "command.consent_missing",
        "nobody agreed to the change",
        "The command changes state, so it asks first. There was no terminal to ask on, or the answer was not yes. Nothing was done.",
        "Look with --dry-run, then agree beforehand with --yes. In a script give --reason as well, for those who read the log later.",
    ),
    e(
        "command.interrupted",
        "stopped before it was done",
        "The command was interrupted by Ctrl-C or SIGTERM. Whatever it had been told was done is done; the rest was not begun or is finished by the instance.",
        "Run it again: every command may be repeated. `tidewire status` shows where things stand.",
    ),
    e(
        "command.failed",
        "the program could not set itself up",
        "The operating system refused something that every program needs: a thread, a signal handler, a network client, standard error. Limits of the user or the container are the usual cause.",
        "Check `ulimit -a` and the limits of the container (processes, open files, memory), then run the command again.",
    ),
    e(
        "command.unknown_code",
        "there is no such error code",
        "The code given to `tidewire explain` is none that this build has. Codes are two lower-case words with a dot between them.",
        "`tidewire explain` without a code lists all of them; the nearest one is named in the hint.",
    ),
    e(
        "command.no_such_path",
        "there is nothing at the path",
        "A file or folder named on the command line does not exist, or this user may not see it. Nothing was started.",
        "Check the path with `ls -ld PATH`. Relative paths begin in the current folder.",
    ),
    e(
        "client.unreachable",
        "no instance answers",
        "A command asks a running instance over HTTP: the one named by --url or TIDEWIRE_URL, else the one that has the data directory open. None accepted the connection, or it broke off.",
        "Start one with `tidewire up`. If it runs elsewhere, name its address with --url; if its data is elsewhere, name that with --data-dir.",
    ),
    e(
        "client.nothing_here",
        "neither an instance nor its data",
        "No instance is running on the data directory, and the directory holds no log that could be looked at without one.",
        "Start one with `tidewire up`, or name the right folder with --data-dir. `tidewire config show data_dir` prints which one is meant.",
    ),
    e(
        "client.timed_out",
        "the instance did not answer in time",
        "The connection was accepted, but the answer took longer than --timeout. A change may have been made all the same.",
        "Look with `tidewire status`, and give more time with --timeout 2m. Requests carry idempotency keys where repeating them would matter.",
    ),
    e(
        "client.answer_too_large",
        "the answer does not fit into memory",
        "The instance sent more than 256 MiB for one page, which only very large events in a very long page can do.",
        "Ask for fewer items with --limit, or narrow the list with its filters.",
    ),
    e(
        "client.unexpected_answer",
        "the answer is not one of Tidewire's",
        "Something answered at the address, but not as this version of Tidewire does: a proxy's error page, another program on the port, or another version.",
        "Check the address with `curl -i URL/livez`, and that both sides are of the same version with `tidewire status` and `tidewire --version`.",
    ),
    e(
        "output.failed",
        "the output could not be written",
        "Standard output, or the folder named for the output, cannot be written: the disk is full or permission is missing. A reader that closes a pipe early is not an error.",
        "Check the space with `df -h` and the permission with `ls -ld`, then run the command again.",
    ),
    e(
        "listen.failed",
        "the address cannot be listened on",
        "The operating system refused the address: it belongs to another machine, its port is below 1024 and this user may not take it, or the network is not there.",
        "Listen on 127.0.0.1 and a port above 1024: `tidewire up --listen 127.0.0.1:4500`. `ip address` shows the addresses of this machine.",
    ),
    e(
        "service.failed",
        "a service could not start",
        "The log and the broker are open, but one service could not open what it needs beside them: the object store, the search index, or the running program itself.",
        "The error names the service and the cause. Check the folders under data_dir and objects.url, then start again; nothing was lost.",
    ),
    e(
        "document.unreadable_file",
        "a file cannot be read",
        "A file was found while walking the folders, but could not be opened or read to its end: permissions, a broken disk, or it has gone since.",
        "Check it with `ls -l FILE`. Everything else was submitted; `tidewire demo FILE` takes it alone.",
    ),
    e(
        "event.lost",
        "an event is missing from where it must be",
        "The audit looked every event up in the log, on the broker and in the inbox of every consumer that reads its type, and did not find one everywhere. What was still on its way counts as well.",
        "`tidewire consumers list` shows who is behind; once nobody is, ask again with `tidewire log verify`. Parked events do not count. If something stays missing, keep the data directory as it is and please report it with the output of `tidewire log verify -o json`.",
    ),
    e(
        "import.mapping",
        "the mapping file cannot be used",
        "The file that says how rows of the old system become events has something in it that makes no sense, names a column that the rows do not have, or is no longer what it was when its import began.",
        "The error names the place and what was expected. `tidewire import MAPPING --dry-run` reads every row and sends nothing; `tidewire import --help` shows a mapping.",
    ),
    e(
        "import.source",
        "the old system cannot be read",
        "The database or file that the mapping names does not answer, refuses these credentials, or does not understand the query. Only reading was tried.",
        "Try the same query with `psql` or `sqlite3`. TIDEWIRE_LEGACY_URL, or a file named by TIDEWIRE_LEGACY_URL_FILE, says where the old system is instead of the mapping. Run the import again: it goes on where it was.",
    ),
    e(
        "import.refused",
        "rows were refused",
        "Some rows cannot become events: a column is not what the mapping says, or the event does not match its schema. Without --refused the first such row ended the import; every row before it is in the log.",
        "Mend the row or the mapping and run the import again; rows that are in the log are recognised. With --refused FILE such rows are written there with their reasons, and the others go on.",
    ),
    e(
        "verify.different",
        "the old system and the projection differ",
        "Some keys are on one side only, or have other values there. What is still on its way differs too: a row written a moment ago has not been everywhere yet.",
        "`tidewire consumers list` shows who is behind; once nobody is, ask again with `tidewire verify MAPPING -o json`, which lists every key with both values. Rows that never came: `tidewire import MAPPING`.",
    ),
    e(
        "projection.unknown_collection",
        "no projection keeps a collection of this name",
        "Only what projections keep can be read as rows; the detail lists the names. Other documents belong to the house.",
        "`tidewire projections list -o wide` shows the projections; use one of the names in the detail.",
    ),
];
