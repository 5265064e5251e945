//! The log, the broker and the disk below them.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "store.locked",
        "another process uses this data directory",
        "The embedded log takes a lock on its folder, and another process holds it. Two writers would corrupt each other. The lock belongs to the process and ends with it, also after kill -9, so a stale one cannot exist.",
        "Find the other process with `fuser -v DIR/log/*` or `ps aux | grep tidewire` and stop it, or give this one its own folder: `tidewire up --data-dir OTHER`.",
    ),
    e(
        "store.corrupt",
        "the log failed its checks",
        "A page or a record does not match its checksum, or positions have a gap. Disks, controllers and copies taken from a running file cause this. Tidewire stopped before writing anything more.",
        "Stop Tidewire and copy the whole folder aside before anything else. `sqlite3 COPY 'pragma integrity_check'` on the copy says what is damaged. Restore the latest backup into an empty folder and start on that. Check the disk with `smartctl -a` and `dmesg`.",
    ),
    e(
        "store.newer",
        "the log was written by a newer Tidewire",
        "The schema version in the data directory or database is higher than this binary knows. An older binary might ignore what the newer one relies on, so it does not open it.",
        "Start the newer release again; `tidewire --version` prints this one's. To go back on purpose, restore the backup that was taken before the upgrade.",
    ),
    e(
        "store.full",
        "no space left for the log",
        "The disk, the quota or the database's limit is reached. Commits are refused; what was accepted before is safe, and nothing was half written.",
        "Make room: `df -h DIR` and `du -sh DIR/*`. Lower broker.retention_bytes or move documents elsewhere with TIDEWIRE_OBJECTS_URL. Work resumes by itself once there is space.",
    ),
    e(
        "store.read_only",
        "the data directory cannot be written",
        "The folder or its file system is read-only, belongs to another user, or the database user has no right to write.",
        "Check `ls -ld DIR`, `mount | grep DIR` and `id`. In a container mount a volume that the container's user owns. For PostgreSQL grant the role insert and update on schema `tidewire`.",
    ),
    e(
        "store.unavailable",
        "the log cannot be reached",
        "The database does not answer, refuses connections, or was restarted. Commits fail meanwhile; handlers keep their events and repeat them later.",
        "Check the server, the network and the credentials of store.url; `tidewire config show` prints it without the password, and /readyz says when it answers again. Work resumes by itself.",
    ),
    e(
        "commit.conflict",
        "somebody else wrote this stream first",
        "The commit expected a version of the stream, or a revision of a document, that is no longer the latest. Nothing was written.",
        "Load again, decide again, commit again; the command loop does so by itself a few times. Over HTTP, read the resource and repeat the request. If one key conflicts all the time, too many writers share it.",
    ),
    e(
        "commit.unknown",
        "it is not known whether the write happened",
        "The store went away between taking the write and answering. It is either whole in the log or not at all, but the answer was lost.",
        "Repeat the request with the same Idempotency-Key, or an event with the same id: what was written is recognised. Without a key, read before trying again.",
    ),
    e(
        "commit.invalid",
        "a commit that no store could take",
        "A handler or command put something into a commit that contradicts itself, such as events of another key than their stream's. Nothing was written. This is a defect of the program.",
        "Search the log for the `trace_id` of the problem, or for the parked event: the line says what contradicts what. Correct the handler and redrive with `tidewire parked redrive`.",
    ),
    e(
        "commit.fenced",
        "another instance has taken over",
        "The lease under which this commit was made has passed to another instance, because this one paused longer than its time to live. The commit was refused, so nothing happened twice.",
        "Nothing needs to be done: the new holder goes on. If it happens often, the process is being paused; look for CPU throttling and swapping, or raise relay.lease_ttl.",
    ),
    e(
        "broker.full",
        "the broker holds all it may",
        "What is stored and not yet acknowledged has reached broker.retention_bytes. The broker refuses new events instead of dropping old ones. The log still accepts events; the relay publishes them later.",
        "Find the consumer that lags with `tidewire consumers list` and correct what holds it up, or raise broker.retention_bytes if the disk has room. Publishing resumes by itself.",
    ),
    e(
        "broker.corrupt",
        "the broker's file failed its checks",
        "The embedded broker's file is damaged. It holds copies only: the log remains the truth.",
        "Stop Tidewire, move the folder `broker` inside data_dir aside and start again. What consumers have not handled is published again from the log; the inbox drops what they have. Check the disk with `smartctl -a`.",
    ),
    e(
        "broker.unavailable",
        "the broker cannot be reached",
        "The server does not answer or refuses the connection. Events are still accepted into the log and published when the broker is back; handlers wait.",
        "Check the server, the network and broker.url; `tidewire config show` prints it without the password. tidewire_relay_lag_events shows what is waiting. Publishing resumes by itself.",
    ),
    e(
        "broker.locked",
        "another process has the embedded broker open",
        "One process owns the folder of the embedded broker; a second one would deliver every event twice. The lock is the operating system's and ends with its holder, so it is never stale.",
        "The error names the holder. Stop that process, or start this one elsewhere: `tidewire up --data-dir DIR`. Several processes need a broker that is a server.",
    ),
    e(
        "broker.newer",
        "the broker's file is of a newer release",
        "A newer release has changed the form of the embedded broker's file. This build does not touch it, because it would misread it.",
        "Run the newer release again. To stay with this one, stop Tidewire and move the folder `broker` inside data_dir aside: it holds copies only, and what consumers have not handled is published again from the log.",
    ),
    e(
        "broker.invalid",
        "the broker was asked for something that makes no sense",
        "A request to the broker contradicts itself, such as a subscription without a name or a cursor that no scan gave. Nothing was done. This is a defect of the program that asked.",
        "Search the log for `broker.invalid`: the line says what was wrong. Please report it with that line.",
    ),
    e(
        "broker.closed",
        "the broker is being closed",
        "The process is shutting down, or the subscription was closed. Whatever was not acknowledged is delivered again after the next start.",
        "Nothing needs to be done during a shutdown. At any other time look for the reason in the lines of the log just before it.",
    ),
    e(
        "objects.unavailable",
        "the object store cannot be used",
        "The folder or service that objects.url names could not be read or written: the disk is full, permission is missing, or it is not mounted. Nothing was accepted that could not be stored.",
        "Check objects.url with `tidewire config show objects`, then the folder with `ls -ld DIR` and `df -h DIR`. Send the document again once it can be written.",
    ),
    e(
        "index.locked",
        "another process has the search index open",
        "One process writes the folder `index` inside data_dir. A second one would damage it, so it is refused.",
        "Stop the other process, or start this one elsewhere: `tidewire up --data-dir DIR`. The lock ends with its holder, so it is never stale.",
    ),
    e(
        "index.corrupt",
        "the search index is damaged",
        "The files of the index cannot be read, for instance after a disk fault. Documents and events are not affected: the index holds copies only. At its start Tidewire sets such an index aside as `index.damaged-<time>` and rebuilds it in the background.",
        "Start Tidewire again if that has not happened yet; until the log says that the index is whole again, search misses documents. Check the disk with `smartctl -a`, and delete the damaged folder once nobody wants to look at it.",
    ),
    e(
        "index.outdated",
        "the search index has the form of another release",
        "The index was written by a release that stores it differently. This build would misread it, so it sets it aside as `index.damaged-<time>` and rebuilds it in the background. Documents and events are not affected.",
        "Wait until the log says that the index is whole again; until then search misses documents. The folder set aside is of use only to the release that wrote it: delete it, or move it back before running that one.",
    ),
    e(
        "index.folder",
        "the folder of the search index cannot be used",
        "The folder `index` inside data_dir cannot be made or opened: permission is missing, or a file lies in its place.",
        "Check it with `ls -ld DIR`; `tidewire config show data_dir` prints where it is. Give it to the user who runs Tidewire, then start again.",
    ),
    e(
        "index.invalid",
        "the search index does not take this",
        "A query or a document holds something that the index has no place for, such as a name without characters. Nothing was changed.",
        "The detail names it. Correct the query, or the document, and send it again.",
    ),
    e(
        "index.text_missing",
        "the text of an ingested document is gone",
        "While the search index was rebuilt, the text of a document that ought to be found was not in the object store. The document was left out of the index; everything else was rebuilt.",
        "The line of the log names the document. Look for `documents/<id>/text` in the place that `tidewire config show objects` prints, and restore it from a backup, or submit the document again.",
    ),
    e(
        "index.storage",
        "the search index could not be read or written",
        "Reading or writing the files of the index failed, mostly because the disk is full. The step is tried again; the documents themselves are safe.",
        "Make room: `df -h DIR` and `du -sh DIR/*`. Indexing goes on by itself; a search can simply be repeated.",
    ),
];
