//! Handlers, sagas, effects and documents.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "handler.failed",
        "a handler gave up on an event",
        "The handler returned an error on every try up to consume.max_attempts, or an error that no retry can heal. Its key is parked: later events of the same key wait behind it in order, other keys flow.",
        "`tidewire parked show` prints the error of each try. Correct the cause, then put the key back to work with `tidewire parked redrive`; its events run in their old order.",
    ),
    e(
        "handler.panicked",
        "a handler panicked",
        "The handler's code panicked. The panic was caught, its transaction was rolled back, and the try counted. After consume.max_attempts the key is parked.",
        "`tidewire parked show` prints the panic and its place. It is a defect in the handler: correct it, deploy, then `tidewire parked redrive`.",
    ),
    e(
        "handler.crashed",
        "the process died while handling this event",
        "Attempts are recorded before the handler runs, and these ended without a result: the process was killed, ran out of memory or aborted. After consume.max_attempts the key is parked, so that one event cannot keep the process from running.",
        "Look for the end of the process in its log and in `dmesg` (out of memory). Correct the cause or raise the memory limit, then `tidewire parked redrive`.",
    ),
    e(
        "handler.document",
        "a stored document is not what the handler expects",
        "The handler read a document of its own that does not have the form this build gives it: another release wrote it, or it was changed by hand. Trying again cannot help, so the key is parked.",
        "The reason names the collection and the id. Run the release that wrote it, or correct the handler to read the old form; then redrive with `tidewire parked redrive`.",
    ),
    e(
        "parked.behind",
        "an earlier event of the same key is parked",
        "Events of one key are handled in order. One before this was set aside, so this one waits behind it and was not tried. It is not at fault.",
        "`tidewire parked list --key KEY` shows the first one and why. Correct that, then `tidewire parked redrive` runs all of them in their old order.",
    ),
    e(
        "parked.full",
        "a consumer has parked as many events as it may",
        "So many events failed that the consumer, not a key, is at fault. What fails from now on stays with the broker and is tried again after consume.backoff_max; nothing is lost, and what works goes on.",
        "`tidewire parked list --consumer NAME` shows what failed and why. Mend the handler, then `tidewire parked redrive --consumer NAME`. If so much is right, raise consume.parked_max.",
    ),
    e(
        "handler.timeout",
        "a handler took too long",
        "The try was stopped at consume.handler_timeout and rolled back. It is repeated with growing waits, and parked after consume.max_attempts.",
        "tidewire_handler_seconds shows how long this handler usually takes. Make it faster, move slow work into an effect, or raise consume.handler_timeout together with broker.ack_wait, which must be at least twice as long.",
    ),
    e(
        "saga.stuck",
        "a saga needs a person",
        "A step failed, the saga turned back, and an undo failed on every try up to saga.undo_attempts. What was done and what was undone is known exactly; going further without a decision could do harm.",
        "`tidewire sagas show` prints every step, each try and its error, and which undo is missing. Correct the cause, then finish that undo and those of the steps before it by hand, in that order.",
    ),
    e(
        "saga.step_timed_out",
        "a step did not answer in time",
        "No reply came within the step's deadline (saga.step_deadline unless the step has its own). It is unknown whether the step was done, so it is treated as done and undone.",
        "`tidewire sagas show` names the step. See whether the service that owns it keeps up: `tidewire consumers list`. If the work is slow by nature, raise saga.step_deadline and start the saga again.",
    ),
    e(
        "saga.undone",
        "a saga was undone",
        "A step failed for good, and every step before it was undone in reverse order. Nothing of it remains.",
        "`tidewire sagas show` prints the failed step and its reason. Correct that and start again, for a document by submitting it again.",
    ),
    e(
        "saga.unknown_definition",
        "a saga of a definition this build does not have",
        "The saga was started by another release, with a version of its steps that this build does not know. It waits; nothing is lost.",
        "Run a build that has the definition; old versions stay in the code until no saga uses them. `tidewire sagas list` shows which are in use.",
    ),
    e(
        "saga.superseded",
        "a request of a saga that has moved on",
        "The request arrived after its saga had already given up this step, or had undone it: a late delivery, or one that was repeated. It was refused and nothing was done, so that an undone step is not done again.",
        "Nothing needs to be done: the saga does not wait for this answer. `tidewire sagas show ID` prints what it did instead.",
    ),
    e(
        "effect.failed",
        "an effect was given up",
        "Mail or a webhook failed on every try up to effects.max_attempts, or for a reason that no retry heals, such as a webhook to a private address. Each try carried the same idempotency key, so a receiver that honours it sees the effect at most once. It is not tried again.",
        "The line in the log names the consumer, the effect and the last error. Correct the address, the credentials or the receiver; for a receiver inside your own network set `effects.allow_private_targets = true`.",
    ),
    e(
        "document.encrypted",
        "the document is encrypted",
        "The PDF needs a password to be read. Tidewire does not ask for passwords. The ingestion was undone, and nothing of the document remains.",
        "Remove the password and submit it again, for instance: `qpdf --decrypt --password=PASSWORD in.pdf out.pdf`.",
    ),
    e(
        "document.corrupt",
        "the document is damaged",
        "The file does not follow its format: it is cut off, has a broken structure, or is another format than its content type says. The ingestion was undone.",
        "Open it in a viewer to see. `qpdf --check FILE` names the damage and `qpdf FILE REPAIRED` often repairs it. Then submit it again with the right content type.",
    ),
    e(
        "document.unsupported_media_type",
        "this kind of document cannot be read",
        "Text can be extracted from plain text, Markdown, HTML and PDF. The content type, or the content itself, is something else.",
        "Convert the document, for instance with `libreoffice --convert-to pdf FILE`, and submit the result with its content type: `Content-Type: application/pdf`.",
    ),
    e(
        "document.empty",
        "the document holds no text",
        "Extraction succeeded, and there is nothing to search for: the file is empty or holds only pictures, as scans do. The ingestion was undone.",
        "For a scan, add a text layer first: `ocrmypdf in.pdf out.pdf`. Then submit the result.",
    ),
    e(
        "document.too_large",
        "the document is larger than the limit",
        "The document exceeds http.document_limit, or its text exceeds what may be stored for one document. It was refused.",
        "Split it, or raise http.document_limit. Extraction also needs memory: documents.extract_memory bounds it.",
    ),
    e(
        "document.too_deep",
        "the document nests its parts too deeply",
        "Its parts lie inside each other deeper than any honest document's, which readers do not survive. The ingestion was undone.",
        "Flatten it: print it to a new PDF from a viewer, or save it as plain text, for instance with `pdftotext FILE`. Then submit the result.",
    ),
    e(
        "document.object",
        "the bytes of a document cannot be used",
        "The log knows the document, but the object store does not have its bytes, or they are larger than one object may be: they were removed by hand or by a rule, or objects.url points elsewhere than before.",
        "Check it with `tidewire config show objects`. Put the object back from a backup, or submit the document again; what is parked then runs with `tidewire parked redrive`.",
    ),
    e(
        "document.unavailable",
        "text extraction could not be started",
        "The process that extracts text could not be started, because the system has no memory or no processes left. The document was not looked at; the step is tried again by itself.",
        "Look at the limits with `ulimit -a` and at the memory of the container. documents.extract_concurrency says how many run at once.",
    ),
    e(
        "document.timeout",
        "extracting the document took too long",
        "Extraction was stopped at documents.extract_timeout. Some files are built, by accident or on purpose, to take for ever. The ingestion was undone.",
        "If the document is honest and large, raise documents.extract_timeout together with saga.step_deadline, which must be at least twice as long. Else `qpdf FILE SIMPLER` often helps.",
    ),
    e(
        "document.out_of_memory",
        "extracting the document took too much memory",
        "Extraction reached documents.extract_memory and was stopped, so that one document cannot take the memory of all. The ingestion was undone.",
        "If the document is honest, raise documents.extract_memory; documents.extract_concurrency such extractions run at once. Else split it.",
    ),
    e(
        "document.crashed",
        "the extraction crashed on this document",
        "The process that extracts text died on this document. It runs apart from everything else, so nothing else was harmed. The ingestion was undone.",
        "`qpdf FILE REPAIRED` often gives a file that can be read. Please report the document, if you may share it.",
    ),
];
