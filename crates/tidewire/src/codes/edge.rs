//! Answers of the HTTP surface. Each is the `code` of a problem+json.

use super::{Explanation, explain_as as e};

pub(super) const TABLE: &[Explanation] = &[
    e(
        "http.not_found",
        "there is nothing at this address",
        "The path is not one of the API, or the thing it names does not exist or is not visible to the caller.",
        "Compare the path with /openapi.json. Ids are case-sensitive. If it was created a moment ago, send back the `Tidewire-Position` header of the answer that created it, and the read waits for it.",
    ),
    e(
        "http.method_not_allowed",
        "this address does not know the method",
        "The path exists, but not for this method. The `Allow` header of the answer lists those it knows.",
        "Use one of the methods in `Allow`; /openapi.json describes each.",
    ),
    e(
        "http.invalid_request",
        "a parameter or the body is not valid",
        "A query parameter, a path part or a field of the body is missing or has the wrong form. Nothing was done.",
        "The problem's `errors` name each place and what was expected; /openapi.json has the full description. Correct all of them and send the request again.",
    ),
    e(
        "http.invalid_cursor",
        "the page cursor is not valid",
        "A cursor comes from the `next` of an earlier page and is opaque. This one was changed, cut off, or belongs to another query.",
        "Begin again without `cursor` and follow each page's `next` as it is, with the same filters.",
    ),
    e(
        "http.idempotency_conflict",
        "the same idempotency key with another body",
        "This Idempotency-Key was used before for a request with another body. Repeating it would be ambiguous, so nothing was done.",
        "Use a new key for each new request, and the same key only when you repeat the very same one.",
    ),
    e(
        "http.idempotency_in_progress",
        "the first request with this key is still running",
        "A request with the same Idempotency-Key has begun and has no answer yet. A second one now could do the work twice.",
        "Wait for the time in `Retry-After` and repeat the request with the same key: it then gets the first one's answer.",
    ),
    e(
        "http.body_too_large",
        "the request body is larger than the limit",
        "The body exceeds http.body_limit, or http.document_limit for documents. It was not read to its end.",
        "Send less at a time: /v1/events and /v1/track take batches of any smaller size. Raise the limit in the configuration if your requests really are larger.",
    ),
    e(
        "http.unsupported_media_type",
        "the content type is not known here",
        "The request has no Content-Type, or one that this address does not read. Events take application/cloudevents+json, application/cloudevents-batch+json, or binary mode with `ce-` headers.",
        "Set the header, for instance `-H 'Content-Type: application/json'`. /openapi.json lists what each address reads.",
    ),
    e(
        "http.timeout",
        "the request took too long",
        "The answer was not ready within http.request_timeout, or the client was too slow to send. It is not known whether a change was made.",
        "Repeat it with the same Idempotency-Key: if the first one was done, you get its answer. If it happens often, look at tidewire_commit_seconds and tidewire_http_request_seconds.",
    ),
    e(
        "http.unavailable",
        "the service cannot answer now",
        "Something this request needs does not answer, or the process is shutting down. Nothing was done.",
        "Wait for the time in `Retry-After` and repeat it. /readyz says what is missing, and the log says why.",
    ),
    e(
        "http.internal",
        "something went wrong inside",
        "An error that no rule foresaw. It was written to the log with the trace id of this answer; details are not shown to callers.",
        "Search the log for the `trace_id` of the problem. If it repeats, please report it with those lines.",
    ),
    e(
        "user.already_exists",
        "a user with this id exists",
        "The id is taken by a user with other data. Nothing was changed.",
        "Choose another id, or leave `id` out to get a new one. `GET /v1/users/ID` shows the existing user.",
    ),
    e(
        "user.not_found",
        "there is no such user",
        "No user with this id is registered, or the registration has not reached this view yet.",
        "Register the user with `POST /v1/users`. If that was a moment ago, send back its `Tidewire-Position` header.",
    ),
    e(
        "user.follows_itself",
        "users cannot follow themselves",
        "Both ids of the request are the same. The rule is part of the domain, so nothing was written.",
        "Name two different users: `PUT /v1/users/ID/following/OTHER`.",
    ),
];
