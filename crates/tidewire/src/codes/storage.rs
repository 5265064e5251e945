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
        "store.not_tidewire",
        "this is not a Tidewire log",
        "The folder or database holds something else: the application mark of the file is missing or another program's.",
        "Check data_dir and store.url with `tidewire config show`. Name an empty folder or database; nothing was changed in this one.",
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
        "store.unsuitable_disk",
        "the data directory is on a network file system",
        "SQLite's locks and flushes are not reliable over NFS, SMB and some FUSE file systems, and events could be lost or written twice.",
        "Put data_dir on a local disk: `tidewire up --data-dir /var/lib/tidewire`. For storage shared between machines use TIDEWIRE_STORE_URL=postgres://….",
    ),
    e(
        "store.unavailable",
        "the log cannot be reached",
        "The database does not answer, refuses connections, or was restarted. Commits fail meanwhile; handlers keep their events and repeat them later.",
        "Check the server, the network and the credentials of store.url; `tidewire config show` prints it without the password, and /readyz says when it answers again. Work resumes by itself.",
    ),
    e(
        "store.busy",
        "too many commits are waiting",
        "More commits wait for the writer than store.queue allows. The commit was refused before anything was written, so that memory stays bounded.",
        "Send it again after a short wait; clients should back off. If it lasts, look at tidewire_commit_seconds: a slow disk shows there. Raise store.queue only for short bursts.",
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
        "Nothing needs to be done: the new holder goes on. If it happens often, the process is being paused; look for CPU throttling and swapping, or raise relay.lease_ttl or saga.lease_ttl.",
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
        "broker.unconfirmed",
        "the broker did not confirm a publish",
        "No confirmation came within the time limit, so it is unknown whether the event was stored. The relay sends it again with the same id, and the broker drops the copy.",
        "Nothing needs to be done for single cases. If tidewire_publish_failures_total keeps rising, look at the broker's disk and load, and at the network between.",
    ),
    e(
        "log.gap",
        "positions in the log are not continuous",
        "The log numbers events without gaps, and a number is missing. Rows were removed or changed outside Tidewire, or the file is damaged.",
        "Stop Tidewire, copy the folder aside and compare it with your latest backup around the position that the error names. Do not renumber rows: consumers rely on the positions. Restore the backup.",
    ),
    e(
        "object.missing",
        "the bytes of a document are gone",
        "The log knows the document, but the object store does not have its bytes: they were removed by hand, by a lifecycle rule, or objects.url points elsewhere than before.",
        "Check objects.url with `tidewire config show` and the rules of the bucket. Put the object back from a backup, or submit the document again.",
    ),
];
