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
        "http.invalid",
        "a parameter or the body is not valid",
        "A query parameter, a path part or a field of the body is missing or has the wrong form. Nothing was done.",
        "The problem's `errors` name each place and what was expected; /openapi.json has the full description. Correct all of them and send the request again.",
    ),
    e(
        "http.invalid_cursor",
        "the page cursor is not valid",
        "A cursor comes from the `cursor` of an earlier page and is opaque. This one was changed, cut off, or belongs to another query.",
        "Begin again without `cursor` and hand each page's `cursor` back as it is, with the same filters.",
    ),
    e(
        "http.idempotency_conflict",
        "the same idempotency key with another body",
        "This Idempotency-Key was used before for a request with another body. Repeating it would be ambiguous, so nothing was done.",
        "Use a new key for each new request, and the same key only when you repeat the very same one.",
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
        "http.empty_body",
        "nothing was sent",
        "The request has no body, and this address needs one. Nothing was done.",
        "Send the body with its Content-Type. With curl, `-d @FILE` or `--data-binary @FILE`; look whether the file is empty.",
    ),
    e(
        "http.malformed_json",
        "the body is not acceptable JSON",
        "The body is no JSON, holds more than one value, is not UTF-8, or has a string with U+0000 or half a surrogate pair in it. Nothing was done.",
        "The detail says what was found and where. Write the body with a JSON library rather than by hand; a byte order mark at its beginning is not JSON either.",
    ),
    e(
        "http.too_deep",
        "the JSON nests too deeply",
        "Arrays and objects nest deeper than 64 levels. Readers further down the path may not survive what is deeper.",
        "Flatten the data, or send the deep part as a string or as an object in the object store.",
    ),
    e(
        "http.duplicate_member",
        "an object names a member twice",
        "One object has two members of the same name. Some readers take the first, others the last, so neither is taken.",
        "The detail names the member. Remove one of the two; a JSON library that writes objects from maps cannot make this mistake.",
    ),
    e(
        "http.too_many_values",
        "the JSON has too many values",
        "The body has more than 100,000 members and elements, or a member name beyond 1,024 bytes.",
        "Send less at a time: events and activities are taken in batches of any smaller size.",
    ),
    e(
        "http.inexact_number",
        "a number would be rounded",
        "The body holds a number that 64-bit integers and floats cannot hold exactly. Keeping another number than the one that was sent would be a silent error.",
        "Send the number as a string, or with no more digits than it needs: up to 15 are always kept.",
    ),
    e(
        "http.body_broken",
        "the body ended too early",
        "The connection was closed, or the transfer was cut, before the whole body had come. Nothing was done.",
        "Send the request again, with the same Idempotency-Key if it has one.",
    ),
    e(
        "http.invalid_limit",
        "the page limit is not valid",
        "`limit` is not a number from 1 to 500. A page is kept small enough to be answered at once.",
        "Leave `limit` out for pages of 50, or give a number from 1 to 500, and follow each page's `cursor` for more.",
    ),
    e(
        "http.invalid_position",
        "the position is not one of this log",
        "`Tidewire-Position` is no number, or lies beyond the end of this log: it was given by another installation, or by this one before its data was replaced.",
        "Send back the header of the last write as it was given, or leave it out to read what is there.",
    ),
    e(
        "http.behind",
        "what was written cannot be read yet",
        "The read carries the position of an earlier write, and a consumer has not come so far within two seconds. The write itself is safe in the log.",
        "Try again, or leave `Tidewire-Position` out to read what is there. If it lasts, `tidewire consumers list` shows which consumer is behind.",
    ),
    e(
        "http.invalid_idempotency_key",
        "the idempotency key is not valid",
        "`Idempotency-Key` is empty, longer than 255 bytes, holds something other than visible ASCII characters, or is there twice.",
        "Use one fresh UUID for each request, and the same one when you repeat it.",
    ),
    e(
        "http.host_refused",
        "the request is for another host name",
        "Callers are not authenticated, so this listener serves its own machine only, by the names of that machine. A page elsewhere that points its own name at this address would otherwise speak in its reader's name.",
        "Use http://localhost or the loopback address. Behind a proxy on the same machine that authenticates callers, set http.allow_remote.",
    ),
    e(
        "http.origin_refused",
        "the request comes from a page of another site",
        "A browser sent a request that changes something in the name of a page of another site. Such requests are refused, because nobody asked the reader of that page.",
        "Call from the same origin, or from a program rather than a page. Behind a proxy, let it pass the `Host` header on as the client sent it.",
    ),
    e(
        "command.refused",
        "the rules do not allow this now",
        "The command was understood, but the state of what it is about does not allow it. Nothing was done.",
        "The detail says which rule. Read the current state and decide anew; repeating the same request gives the same answer until that state changes.",
    ),
    e(
        "consumer.not_found",
        "there is no consumer of this name",
        "No service in this process has a consumer of this name. Names are `service.what`, such as `social.followers`.",
        "`tidewire consumers list` and GET /v1/consumers list them. Names are case-sensitive.",
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
